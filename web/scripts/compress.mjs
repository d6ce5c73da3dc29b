// Leaves a .br and a .gz beside each file of dist, so that the hub never compresses what does not change. Fails when
// what a first visit loads has grown over its budget.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const BUDGET = 150_000;
let scripts = 0;
for (const entry of readdirSync('dist', { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || entry.name.startsWith(".") || /\.(br|gz)$/.test(entry.name)) continue;
  const path = join(entry.parentPath, entry.name);
  const bytes = readFileSync(path);
  const small = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  writeFileSync(`${path}.br`, small);
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  if (entry.name.endsWith('.js')) scripts += small.length;
}
console.log(`scripts: ${scripts} bytes compressed, of ${BUDGET}`);
if (scripts > BUDGET) process.exit(1);
