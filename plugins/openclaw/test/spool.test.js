import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { Spool } from "../src/spool.js";
import { folder, until, waiting } from "../support/index.js";

test("events come back in the order in which they were added", async (t) => {
  const path = await folder(t);
  const spool = new Spool(path, { maxBytes: 1e6 });
  await Promise.all(Array.from({ length: 50 }, (_, n) => spool.add({ n })));
  const found = await spool.oldest(100, 1e6);
  assert.deepEqual(found.map(({ event }) => event.n), Array.from({ length: 50 }, (_, n) => n));
  assert.deepEqual((await spool.oldest(3, 1e6)).length, 3);
  await spool.remove(found.map(({ name }) => name));
  assert.deepEqual(await waiting(path), []);
});

test("a full spool lets the oldest go and counts them over a restart", async (t) => {
  const path = await folder(t);
  const spool = new Spool(path, { maxBytes: 1000 });
  for (let n = 0; n < 20; n++) await spool.add({ n, text: "x".repeat(80) });
  const left = await spool.oldest(100, 1e6);
  assert.equal(left.at(-1).event.n, 19);
  const dropped = await new Spool(path, { maxBytes: 1000 }).dropped();
  assert.equal(dropped + left.length, 20);
  assert.ok(left.length >= 6 && dropped > 0, `${left.length} left`);
  await spool.toldDropped(dropped - 1);
  assert.equal(await spool.dropped(), 1);
});

test("half-written and damaged files hold nothing up", async (t) => {
  const path = await folder(t);
  await writeFile(join(path, ".tmp-000000000000001-1-00000000.json"), '{"half');
  await writeFile(join(path, "000000000000002-1-00000000.json"), "not json");
  const spool = new Spool(path, { maxBytes: 1e6 });
  await spool.add({ ok: true });
  const found = await spool.oldest(10, 1e6);
  assert.deepEqual(found.map(({ event }) => event), [{ ok: true }]);
  assert.deepEqual(await readdir(join(path, "refused")), ["000000000000002-1-00000000.json"]);
  assert.ok(!(await readdir(path)).some((name) => name.startsWith(".tmp-")));
});

test("a folder that cannot be written is an error, and works once it can", async (t) => {
  const path = join(await folder(t), "file");
  await writeFile(path, "");
  const spool = new Spool(join(path, "below"), { maxBytes: 1e6 });
  await assert.rejects(spool.add({ n: 1 }));
  const fine = new Spool(join(await folder(t), "deep", "er"), { maxBytes: 1e6 });
  await fine.add({ n: 2 });
  assert.equal((await fine.oldest(1, 1e6))[0].event.n, 2);
});

test("killed in the middle of spooling: every event that was reported as kept is whole", async (t) => {
  const path = await folder(t);
  const writer = new URL("../support/writer.js", import.meta.url).pathname;
  const child = spawn(process.execPath, [writer, path], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (chunk) => (said += chunk));
  await until(() => said.split("\n").length > 30, "the writer");
  child.kill("SIGKILL");
  await new Promise((resolve) => child.on("close", resolve));
  // The last line may be cut.
  const kept = said.split("\n").slice(0, -1).map(Number);
  const found = await new Spool(path, { maxBytes: 1e9 }).oldest(1e6, 1e9);
  const there = new Set(found.map(({ event }) => event.n));
  assert.deepEqual(kept.filter((n) => !there.has(n)), []);
  for (const { name, event } of found) {
    assert.equal(event.text.length, 5000, name);
    assert.equal(JSON.parse(await readFile(join(path, name), "utf8")).n, event.n);
  }
});
