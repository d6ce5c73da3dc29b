import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const HOOK = fileURLToPath(new URL("../session-start.sh", import.meta.url));
const FIXTURES = new URL("../../../crates/ingest/fixtures/claude-code/", import.meta.url);

async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), "backstay-claude-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function hub(t, answer = (response) => response.writeHead(202).end()) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    requests.push({ url: request.url, headers: request.headers, body: Buffer.concat(chunks).toString() });
    answer(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => { server.close(); server.closeAllConnections(); });
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}

/** Runs the hook; gives its exit code, output, time and what it left in its temporary folder. */
async function run(t, event, variables) {
  const temporary = await folder(t);
  const start = Date.now();
  const child = spawn(HOOK, [], { env: { PATH: process.env.PATH, TMPDIR: temporary, ...variables } });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (said += chunk));
  child.stdin.on("error", () => {});
  child.stdin.end(event);
  const code = await new Promise((resolve) => child.on("close", resolve));
  return { code, said, ms: Date.now() - start, left: await readdir(temporary) };
}

const recorded = async () => JSON.stringify(JSON.parse(await readFile(new URL("session-start.json", FIXTURES), "utf8")).body);

/** What a shell that has read the file knows. */
async function exported(file) {
  const show = '. "$1"; printf "%s|%s" "$BACKSTAY_SESSION_TOOL" "$BACKSTAY_SESSION_ID"';
  const { stdout } = await promisify(execFile)("sh", ["-c", show, "sh", file], { env: { PATH: process.env.PATH } });
  return stdout;
}

test("the event reaches the hub as it is, and the session's commands know the session", async (t) => {
  const server = await hub(t);
  const file = join(await folder(t), "env");
  await writeFile(file, "export OTHER=1\n");
  const event = await recorded();
  const variables = { BACKSTAY_HUB: `${server.url}/`, BACKSTAY_HOOK_TOKEN: "t0k$en", CLAUDE_ENV_FILE: file };
  assert.deepEqual({ ...(await run(t, event, variables)), ms: 0 }, { code: 0, said: "", ms: 0, left: [] });
  const [request] = server.requests;
  assert.equal(server.requests.length, 1);
  assert.equal(request.url, "/hooks/claude-code");
  assert.equal(request.headers.authorization, "Bearer t0k$en");
  assert.equal(request.body, event);
  assert.equal(await exported(file), `claude-code|${JSON.parse(event).session_id}`);
  assert.match(await readFile(file, "utf8"), /^export OTHER=1\n/);
});

test("an event over several lines is understood", async (t) => {
  const file = join(await folder(t), "env");
  await run(t, JSON.stringify({ session_id: "abc-1", cwd: "/" }, null, 2), { CLAUDE_ENV_FILE: file });
  assert.equal(await exported(file), "claude-code|abc-1");
});

test("nothing that a shell would run gets into the file", async (t) => {
  const path = await folder(t);
  for (const id of ["$(touch pwned)", "a;touch pwned", "`x`", "a b", "a'b", "", "x".repeat(200)]) {
    const file = join(path, "env");
    assert.equal((await run(t, JSON.stringify({ session_id: id }), { CLAUDE_ENV_FILE: file })).code, 0);
    await assert.rejects(readFile(file), { code: "ENOENT" }, id);
  }
});

test("a hub that is away, slow or unwell stops nothing", async (t) => {
  const event = await recorded();
  const slow = await hub(t, () => {});
  const unwell = await hub(t, (response) => response.writeHead(500).end());
  for (const url of ["http://127.0.0.1:1", slow.url, unwell.url, "not an address"]) {
    const { code, said, ms, left } = await run(t, event, { BACKSTAY_HUB: url, BACKSTAY_HOOK_TOKEN: "t" });
    assert.deepEqual([code, said, left], [0, "", []], url);
    assert.ok(ms < 4000, `${url}: ${ms} ms`);
  }
});

test("odd input and missing settings stop nothing", async (t) => {
  const server = await hub(t);
  for (const event of ["", "not json", "{", "x".repeat(3_000_000)]) {
    assert.equal((await run(t, event, { CLAUDE_ENV_FILE: "/nowhere/env" })).code, 0);
  }
  await run(t, "{}", { BACKSTAY_HUB: server.url });
  await run(t, "{}", { BACKSTAY_HUB: server.url, BACKSTAY_HOOK_TOKEN: 'x"\noutput = "/tmp/pwned' });
  assert.deepEqual(server.requests, []);
});

test("the template names only hooks that the hub understands, and never the token itself", async () => {
  const text = await readFile(new URL("../settings.template.json", import.meta.url), "utf8");
  const filled = JSON.parse(text.replaceAll("{{hub}}", "http://127.0.0.1:8484").replaceAll("{{folder}}", "/opt/backstay"));
  const understood = new Set();
  for (const file of await readdir(FIXTURES)) {
    const { body } = JSON.parse(await readFile(new URL(file, FIXTURES), "utf8"));
    if (body.session_id && file !== "unknown-hook.json") understood.add(body.hook_event_name);
  }
  assert.deepEqual(new Set(Object.keys(filled.hooks)), understood);
  for (const [name, groups] of Object.entries(filled.hooks)) {
    for (const hook of groups.flatMap(({ hooks }) => hooks)) {
      if (name === "SessionStart") {
        assert.deepEqual([hook.type, hook.command], ["command", "/opt/backstay/session-start.sh"]);
      } else {
        assert.deepEqual([hook.type, hook.url], ["http", "http://127.0.0.1:8484/hooks/claude-code"]);
        assert.equal(hook.headers.Authorization, "Bearer $BACKSTAY_HOOK_TOKEN");
        assert.deepEqual(hook.allowedEnvVars, ["BACKSTAY_HOOK_TOKEN"]);
      }
    }
  }
});
