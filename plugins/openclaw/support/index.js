// A hub on loopback and an OpenClaw that is none.
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { sign } from "../src/signature.js";

export const KEY = Buffer.alloc(24, 7);
export const SECRET = `whsec_${KEY.toString("base64")}`;
export const QUIET = { warn() {}, error() {} };

/** A temporary folder, removed after the test. */
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), "backstay-openclaw-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** A hub that checks signatures and keeps what it took; `answer` may say another status. */
export async function hub(t, { port = 0, answer = () => 202 } = {}) {
  const taken = [];
  const requests = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString("utf8");
    const header = (name) => request.headers[`webhook-${name}`];
    const signed = header("signature") === sign(KEY, header("id"), header("timestamp"), body);
    const seen = { path: request.url, id: header("id"), signed, batch: JSON.parse(body) };
    requests.push(seen);
    const status = signed ? await answer(seen, requests.length) : 401;
    if (status === "reset") return request.socket.destroy();
    if (status < 300) taken.push(...seen.batch.events);
    response.writeHead(status).end("{}");
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const close = () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); });
  t.after(close);
  return { url: `http://127.0.0.1:${server.address().port}`, port: server.address().port, taken, requests, close };
}

/** A plugin API that remembers hooks and can call them. */
export function fakeApi(pluginConfig) {
  const hooks = new Map();
  const said = [];
  const say = (level) => (text) => said.push(`${level} ${text}`);
  return {
    pluginConfig,
    logger: { warn: say("warn"), error: say("error") },
    on: (name, handler) => hooks.set(name, handler),
    hooks,
    said,
    call: (name, event, context) => hooks.get(name)(event, context),
  };
}

/** Waits until `condition` holds; fails after five seconds. */
export async function until(condition, what) {
  const end = Date.now() + 5000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The events that wait on disk. */
export async function waiting(path) {
  return (await readdir(path).catch(() => [])).filter((name) => /^\d+-.*\.json$/.test(name));
}
