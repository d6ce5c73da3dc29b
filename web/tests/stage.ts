// What a test plays on: the demonstration's hub, three agents and repository, in a folder and on a port of their own.
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { components } from '../src/lib/api.gen';
import { end, endUnder, eventually, type Program, start } from './processes';

type Schemas = components['schemas'];
const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const PAGE = 'stacks/page/page.conf';
/** The programs as `cargo build` leaves them, unless said otherwise. */
export const PROGRAMS = process.env.BACKSTAY_BIN_DIR ?? join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'debug');

/** Someone who may sign in. */
export interface Person {
  name: string;
  password: string;
}

export class Stage {
  readonly dir = mkdtempSync(join(tmpdir(), 'backstay-page-'));
  url = '';
  private token = '';
  private program!: Program;
  private told = 0;
  private settings = '';

  /** Starts the demonstration and waits until its story is told. */
  static async set(): Promise<Stage> {
    const stage = new Stage();
    stage.program = start(join(PROGRAMS, 'backstay'), ['demo', '--data-dir', join(stage.dir, 'demo')], join(stage.dir, 'demo.log'));
    try {
      await eventually('the demonstration', () => {
        const said = readFileSync(stage.program.log, 'utf8');
        if (stage.program.child.exitCode !== null) throw new Error(said);
        return said.includes('It keeps running') ? true : undefined;
      }, 60_000);
    } catch (error) {
      await stage.strike();
      throw error;
    }
    stage.url = readFileSync(join(stage.hubDir, 'hub.url'), 'utf8').trim();
    stage.token = readFileSync(join(stage.hubDir, 'admin.token'), 'utf8').trim();
    return stage;
  }

  /** Ends all of it and takes the folder away. */
  async strike(): Promise<void> {
    await end(this.program);
    await endUnder(this.dir);
    rmSync(this.dir, { recursive: true, force: true });
  }

  private get hubDir(): string {
    return join(this.dir, 'demo', 'hub');
  }

  /** Calls the API as an administrator. */
  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const init: RequestInit = { method, headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' } };
    if (body !== undefined) init.body = JSON.stringify(body);
    const response = await fetch(new URL(path, this.url), init);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text === '' ? {} : JSON.parse(text)) as T;
  }

  get<T>(path: string): Promise<T> {
    return this.call<T>('GET', path);
  }

  /** A link that opens the page as the owner of the machine, once. */
  async link(): Promise<string> {
    return (await this.call<{ link: string }>('POST', '/api/v1/session/open')).link;
  }

  /** A new user and the one-time link with which the password is chosen. */
  async invite(role: 'viewer' | 'operator' | 'admin'): Promise<Person & { link: string }> {
    this.told += 1;
    const name = `${role}-${this.told}`;
    const { link } = await this.call<{ link: string }>('POST', '/api/v1/users', { name, role });
    return { name, password: `a password of ${name}`, link };
  }

  /** A new conversation that changes a line of the page on all nodes. Gives the conversation's id and the commit's subject. */
  async converse(key: string, value: string): Promise<{ id: string; subject: string }> {
    this.told += 1;
    const foreign = { tool: 'claude-code', kind: 'session_id', value: `${this.dir}#${this.told}` };
    const { id } = await this.call<{ id: string }>('POST', '/api/v1/conversations/resolve', foreign);
    const subject = `Set ${key} to ${value}`;
    this.commit(key, value, `${subject}\n\nBackstay-Conversation: ${id}`);
    await eventually(`${subject} on all nodes`, async () => {
      const { deployed } = await this.get<Schemas['ConversationDetail']>(`/api/v1/conversations/${id}`);
      return deployed.filter((one) => one.state.state === 'succeeded').length === 3 ? true : undefined;
    });
    return { id, subject };
  }

  /** Changes a line of the page, commits and pushes. */
  commit(key: string, value: string, message: string): void {
    this.push(message, (tree) => {
      const path = join(tree, PAGE);
      const lines = readFileSync(path, 'utf8').split('\n');
      writeFileSync(path, lines.map((line) => (line.startsWith(`${key} =`) ? `${key} = ${value}` : line)).join('\n'));
    });
  }

  /** Lets content out after all that a rollout was stopped for: other tests build on it. */
  async liftBans(): Promise<void> {
    const { items } = await this.get<{ items: Schemas['Constraint'][] }>('/api/v1/constraints');
    for (const ban of items.filter((one) => one.effect === 'ban')) {
      await this.call('POST', `/api/v1/constraints/${ban.id}/lift`, { reason: 'the test is over' });
    }
  }

  /** Says in `fleet.toml` how rollouts go out, and pushes. */
  strategy(text: string): void {
    this.push('Say how rollouts go out', (tree) => writeFileSync(join(tree, 'fleet.toml'), text));
  }

  /** Changes a line of the page on a branch that begins where the deployed one is, and pushes that. Gives the commit. */
  branch(name: string, key: string, value: string): string {
    const tree = join(this.dir, 'demo', 'fleet');
    git(tree, 'pull', '--quiet', '--rebase', 'origin', 'main');
    const before = git(tree, 'rev-parse', 'HEAD').trim();
    const path = join(tree, PAGE);
    const lines = readFileSync(path, 'utf8').split('\n');
    writeFileSync(path, lines.map((line) => (line.startsWith(`${key} =`) ? `${key} = ${value}` : line)).join('\n'));
    git(tree, 'commit', '--quiet', '--all', '--message', `Try ${value}`);
    git(tree, 'push', '--quiet', '--force', 'origin', `HEAD:refs/heads/${name}`);
    const commit = git(tree, 'rev-parse', 'HEAD').trim();
    git(tree, 'reset', '--quiet', '--hard', before);
    return commit;
  }

  /** Puts these files into the fleet's repository, or takes away those that are null, and pushes. */
  files(message: string, files: Record<string, string | null>): void {
    this.push(message, (tree) => {
      for (const [name, content] of Object.entries(files)) {
        const path = join(tree, name);
        if (content === null) rmSync(path);
        else {
          mkdirSync(dirname(path), { recursive: true });
          writeFileSync(path, content);
        }
      }
    });
  }

  private push(message: string, change: (tree: string) => void): void {
    const tree = join(this.dir, 'demo', 'fleet');
    git(tree, 'pull', '--quiet', '--rebase', 'origin', 'main');
    change(tree);
    git(tree, 'add', '--all');
    git(tree, 'commit', '--quiet', '--message', message);
    git(tree, 'push', '--quiet', 'origin', 'HEAD:main');
  }

  /** Puts another commit in the place of the newest one upstream, which changed this line of the page. Gives its id. */
  rewrite(key: string, value: string): string {
    const tree = join(this.dir, 'demo', 'fleet');
    git(tree, 'pull', '--quiet', '--rebase', 'origin', 'main');
    git(tree, 'reset', '--quiet', '--hard', 'HEAD~1');
    git(tree, 'push', '--quiet', '--force', 'origin', 'HEAD:main');
    this.commit(key, value, `Set ${key} to ${value}, in another history`);
    return git(tree, 'rev-parse', 'HEAD').trim();
  }

  /** A node that has joined and never says a word. Gives the credential with which it could: see `says`. */
  async silentNode(name: string): Promise<string> {
    const { token } = await this.call<{ token: string }>('POST', '/api/v1/join-tokens', {});
    const facts = { os: 'linux', arch: 'x86_64', hostname: name, agent_version: '0.1.0', manifest_schema: 1, runtimes: [], disk_free_bytes: 0, disk_total_bytes: 0 };
    return (await this.call<{ credential: string }>('POST', '/agent/v1/join', { token, name, labels: {}, facts })).credential;
  }

  /** What a node says of itself, in an agent's place. */
  async says(credential: string, what: Record<string, unknown>): Promise<void> {
    const body = JSON.stringify({ have: null, hold_ms: 0, observed: null, facts: null, ...what });
    const headers = { authorization: `Bearer ${credential}`, 'content-type': 'application/json' };
    const response = await fetch(new URL('/agent/v1/check-in', this.url), { method: 'POST', headers, body });
    if (!response.ok) throw new Error(`check-in: ${response.status} ${await response.text()}`);
  }

  /** What a node reports, in an agent's place. */
  async reports(credential: string, what: Record<string, unknown>): Promise<void> {
    const body = JSON.stringify({ reports: [{ id: randomUUID(), at: new Date().toISOString(), ...what }] });
    const headers = { authorization: `Bearer ${credential}`, 'content-type': 'application/json' };
    const response = await fetch(new URL('/agent/v1/reports', this.url), { method: 'POST', headers, body });
    if (!response.ok) throw new Error(`reports: ${response.status} ${await response.text()}`);
  }

  /** The page's settings as they stand upstream. */
  upstream(): string {
    return git(join(this.dir, 'demo', 'fleet.git'), 'show', `main:${PAGE}`);
  }

  /** The newest commit upstream. */
  tip(): string {
    return git(join(this.dir, 'demo', 'fleet.git'), 'rev-parse', 'main').trim();
  }

  /** The message of the newest commit upstream. */
  upstreamMessage(): string {
    return git(join(this.dir, 'demo', 'fleet.git'), 'log', '-1', '--format=%B', 'main');
  }

  /** `kill -9`: the agents go on. */
  async killHub(): Promise<void> {
    await end(this.program, 'SIGKILL');
  }

  /** Where the hub keeps backups, once it was told to. */
  get backups(): string {
    return join(this.dir, 'backups');
  }

  /** Where a node keeps what its stack writes. */
  state(node: string): string {
    return join(this.dir, 'demo', 'nodes', node, 'agent', 'stacks', 'page', 'state');
  }

  /** Starts the hub again with a place for backups. */
  async keepBackups(): Promise<void> {
    this.settings = join(this.dir, 'backstay.toml');
    // Rarely by itself: what the tests ask for is what is made.
    writeFileSync(this.settings, `[backup]\ntarget = { folder = "${this.backups}" }\nevery = "720h"\njitter = "0s"\n`);
    await this.killHub();
    await this.startHub();
  }

  /** Starts the hub again, on the same data and address. */
  async startHub(): Promise<void> {
    const told = this.settings ? ['--config', this.settings] : [];
    const args = ['hub', '--data-dir', this.hubDir, '--listen', new URL(this.url).host, ...told];
    const quick = { BACKSTAY_SOURCE_POLL_EVERY: '300ms', BACKSTAY_POLL_INTERVAL: '500ms', BACKSTAY_POLL_JITTER: '0s' };
    this.program = start(join(PROGRAMS, 'backstay'), args, join(this.dir, 'hub.log'), quick);
    await eventually('the hub', async () => ((await fetch(new URL('/readyz', this.url))).ok ? true : undefined));
  }
}

/** Git without anything of the machine's settings. */
function git(dir: string, ...args: string[]): string {
  const who = Object.fromEntries(
    ['AUTHOR', 'COMMITTER'].flatMap((one) => [[`GIT_${one}_NAME`, 'Assistant'], [`GIT_${one}_EMAIL`, 'assistant@localhost']]),
  );
  const hooks = ['-c', 'core.hooksPath=/dev/null'];
  const env = { PATH: process.env.PATH ?? '', ...who, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
  return execFileSync('git', ['-C', dir, ...hooks, ...args], { encoding: 'utf8', env });
}
