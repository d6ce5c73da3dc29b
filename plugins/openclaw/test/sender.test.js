import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { Sender } from "../src/sender.js";
import { sign } from "../src/signature.js";
import { Spool } from "../src/spool.js";
import { folder, hub, KEY, QUIET, until, waiting } from "../support/index.js";

const FAST = { log: QUIET, firstRetryMs: 20, lastRetryMs: 60 };

async function setUp(t, url, options = {}) {
  const path = await folder(t);
  const spool = new Spool(path, { maxBytes: 1e6 });
  const sender = new Sender(spool, { hub: url, key: KEY }, { ...FAST, ...options });
  t.after(() => sender.stop());
  return { path, spool, sender };
}

test("the specification's example is signed as it says", () => {
  const key = Buffer.from("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "base64");
  const signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}');
  assert.equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
});

test("down first, then up: everything arrives once, in order", async (t) => {
  const gone = await hub(t);
  const { port, url } = gone;
  await gone.close();
  const { path, spool, sender } = await setUp(t, url);
  sender.start();
  for (let n = 0; n < 5; n++) {
    await spool.add({ id: `e${n}`, n });
    sender.wake();
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal((await waiting(path)).length, 5);
  const back = await hub(t, { port });
  await until(() => back.taken.length >= 5, "the events");
  await until(async () => (await waiting(path)).length === 0, "an empty spool");
  assert.deepEqual(back.taken.map((event) => event.n), [0, 1, 2, 3, 4]);
  assert.ok(back.requests.every(({ signed, path }) => signed && path === "/hooks/openclaw"));
});

test("an answer that got lost: the same batch comes again under the same id", async (t) => {
  const server = await hub(t, { answer: (_, count) => (count === 1 ? "reset" : 202) });
  const { spool, sender } = await setUp(t, server.url);
  await spool.add({ id: "a" });
  sender.start();
  await until(() => server.requests.length === 1, "the first attempt");
  await spool.add({ id: "b" });
  sender.wake();
  await until(() => server.taken.length === 2, "both events");
  const [first, second, third] = server.requests;
  assert.equal(first.id, second.id);
  assert.deepEqual(first.batch, second.batch);
  assert.notEqual(third.id, second.id);
});

test("one event that the hub refuses for good does not hold up the rest", async (t) => {
  const server = await hub(t, { answer: ({ batch }) => (batch.events.some((event) => event.bad) ? 422 : 202) });
  const { path, spool, sender } = await setUp(t, server.url);
  for (let n = 0; n < 9; n++) await spool.add({ n, bad: n === 4 });
  sender.start();
  await until(async () => (await waiting(path)).length === 0, "an empty spool");
  assert.deepEqual(server.taken.map((event) => event.n), [0, 1, 2, 3, 5, 6, 7, 8]);
  assert.equal((await readdir(join(path, "refused"))).length, 1);
});

test("a wrong secret and an unwell hub keep events on disk", async (t) => {
  let status = 401;
  const server = await hub(t, { answer: () => status });
  const { path, spool, sender } = await setUp(t, server.url);
  await spool.add({ id: "a" });
  sender.start();
  for (const next of [503, 429, 404]) {
    const before = server.requests.length;
    await until(() => server.requests.length > before + 1, "another attempt");
    assert.equal((await waiting(path)).length, 1);
    status = next;
  }
  status = 202;
  await until(() => server.taken.length === 1, "the event");
});

test("what had to be dropped is told once", async (t) => {
  const server = await hub(t);
  const path = await folder(t);
  const spool = new Spool(path, { maxBytes: 300 });
  for (let n = 0; n < 10; n++) await spool.add({ n, text: "x".repeat(80) });
  const lost = await spool.dropped();
  const sender = new Sender(spool, { hub: server.url, key: KEY }, FAST);
  t.after(() => sender.stop());
  await sender.drain(2000);
  assert.equal(server.requests[0].batch.dropped, lost);
  assert.equal(await spool.dropped(), 0);
  await spool.add({ n: 11 });
  await sender.drain(2000);
  assert.equal(server.requests.at(-1).batch.dropped, 0);
});

test("draining ends in time although the hub does not answer", async (t) => {
  const server = await hub(t, { answer: () => new Promise(() => {}) });
  const { spool, sender } = await setUp(t, server.url, { timeoutMs: 300 });
  await spool.add({ id: "a" });
  const start = Date.now();
  await sender.drain(100);
  assert.ok(Date.now() - start < 280, `${Date.now() - start} ms`);
});
