import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { register } from "../src/entry.js";
import { settings } from "../src/settings.js";
import { snapshot } from "../src/snapshot.js";
import { fakeApi, folder, hub, KEY, SECRET, until, waiting } from "../support/index.js";

const FIXTURE = new URL("../../../crates/ingest/fixtures/openclaw/batch.json", import.meta.url);

async function start(t, config = {}) {
  const spoolFolder = await folder(t);
  const server = await hub(t);
  const api = fakeApi({ hub: server.url, secret: SECRET, spoolFolder, ...config });
  const sender = register(api);
  t.after(() => sender?.stop());
  return { api, server, spoolFolder, sender };
}

test("what the hooks get is what the hub's adapter is tested with", async (t) => {
  const { body } = JSON.parse(await readFile(FIXTURE, "utf8"));
  const { api, server, spoolFolder } = await start(t);
  for (const { hook, event, context } of body.events) await api.call(hook, event, context);
  await until(() => server.taken.length === body.events.length, "the events");
  const shape = ({ hook, event, context }) => ({ hook, event, context });
  assert.deepEqual(server.taken.map(shape), body.events.map(shape));
  assert.deepEqual(Object.keys(server.taken[0]), Object.keys(body.events[0]));
  assert.equal(new Set(server.taken.map(({ id }) => id)).size, body.events.length);
  assert.equal(server.requests[0].batch.schema, body.schema);
  await until(async () => (await waiting(spoolFolder)).length === 0, "an empty spool");
});

test("the end of a session waits until the hub has it", async (t) => {
  const { api, server } = await start(t);
  await api.call("session_end", { sessionId: "s", sessionKey: "k", reason: "shutdown" }, {});
  assert.deepEqual(server.taken.map(({ hook }) => hook), ["session_end"]);
});

test("commands get the session's variables", async (t) => {
  const { api, server } = await start(t);
  const context = { agentId: "main", sessionKey: "agent:main:main", sessionId: "s1" };
  assert.deepEqual(await api.call("resolve_exec_env", {}, context), {
    BACKSTAY_SESSION_TOOL: "openclaw",
    BACKSTAY_HUB: server.url,
    BACKSTAY_SESSION_KEY: "agent:main:main",
    BACKSTAY_SESSION_ID: "s1",
  });
  assert.deepEqual(await api.call("resolve_exec_env", { sessionKey: "k\nBackstay-Conversation: x" }, {}), {});
  assert.deepEqual(await api.call("resolve_exec_env", undefined, undefined), {});
});

test("a hook never throws, whatever it is given", async (t) => {
  const { api, server } = await start(t);
  const circle = { name: "c" };
  circle.self = circle;
  const odd = [undefined, null, 7, circle, { result: 10n, f() {}, d: new Date(NaN), e: new Error("x") }, { toolName: "x".repeat(1e6) }];
  for (const event of odd) await api.call("after_tool_call", event, event);
  await until(() => server.taken.length === odd.length, "the events");
});

test("without settings the plugin stays out and says what is missing", async (t) => {
  const before = { ...process.env };
  t.after(() => Object.assign(process.env, before));
  delete process.env.BACKSTAY_HUB;
  delete process.env.BACKSTAY_WEBHOOK_SECRET;
  for (const [config, part] of [[{}, "`hub`"], [{ hub: "localhost" }, "`hub`"], [{ hub: "http://h" }, "`secretFile`"], [{ hub: "http://h", secret: "whsec_not base64!" }, "`secretFile`"]]) {
    const api = fakeApi(config);
    assert.equal(register(api), undefined);
    assert.equal(api.hooks.size, 0);
    assert.match(api.said.join("\n"), new RegExp(part));
  }
});

test("the secret may come from a file or the environment", async (t) => {
  const file = join(await folder(t), "secret");
  await writeFile(file, `${SECRET}\n`);
  const given = settings({ hub: "http://h/hooks/openclaw", secretFile: file }, {});
  assert.deepEqual([given.key, given.hub], [KEY, "http://h"]);
  const found = settings({}, { BACKSTAY_HUB: "https://h", BACKSTAY_WEBHOOK_SECRET: SECRET, OPENCLAW_STATE_DIR: "/s" });
  assert.deepEqual([found.key, found.hub, found.spoolFolder], [KEY, "https://h", "/s/backstay/spool"]);
});

test("large events are cut, results can be left out", () => {
  const event = { toolName: "exec", params: { command: "x" }, result: { text: "y".repeat(100_000) } };
  const cut = snapshot("after_tool_call", event, {});
  assert.ok(cut.event.result.text.length < 9000 && cut.event.result.text.endsWith("more]"));
  const bare = snapshot("after_tool_call", event, {}, { sendResults: false });
  assert.deepEqual(bare.event, { toolName: "exec", params: { command: "x" } });
  const huge = { toolName: "exec", params: Object.fromEntries(Array.from({ length: 100 }, (_, n) => [n, "z".repeat(9000)])) };
  const small = snapshot("after_tool_call", huge, {});
  assert.deepEqual([small.event, small.cut], [{ toolName: "exec" }, true]);
});
