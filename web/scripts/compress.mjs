// Leaves a .br and a .gz beside each file of dist, so that the hub never compresses what does not change. Fails when
// what a first visit loads (the frame and the overview) has grown over its budget.
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const BUDGET = 150_000;
const MANIFEST = 'dist/.vite/manifest.json';
const manifest = JSON.parse(readFileSync(MANIFEST, 'utf8'));
rmSync('dist/.vite', { recursive: true });

const first = new Set();
function take(key) {
  const { file, css = [], imports = [] } = manifest[key];
  if (first.has(file)) return;
  for (const one of [file, ...css]) first.add(one);
  imports.forEach(take);
}
take('index.html');

let scripts = 0;
let styles = 0;
for (const entry of readdirSync('dist', { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || entry.name.startsWith('.') || /\.(br|gz)$/.test(entry.name)) continue;
  const path = join(entry.parentPath, entry.name);
  const bytes = readFileSync(path);
  const small = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  writeFileSync(`${path}.br`, small);
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  if (!first.has(path.replace(/^dist\//, ''))) continue;
  if (entry.name.endsWith('.js')) scripts += small.length;
  else styles += small.length;
}
console.log(`first visit: scripts ${scripts} bytes compressed, of ${BUDGET}; styles ${styles}`);
if (scripts > BUDGET) process.exit(1);
