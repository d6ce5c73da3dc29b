// Programs that a test starts, and whatever these leave behind: a node's work outlives its agent by design.
import { type ChildProcess, spawn } from 'node:child_process';
import { openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';

/** A program with its output in a file. */
export interface Program {
  child: ChildProcess;
  log: string;
}

export function start(program: string, args: string[], log: string, env: Record<string, string> = {}): Program {
  const file = openSync(log, 'a');
  const child = spawn(program, args, { stdio: ['pipe', file, file], env: { ...ours(), ...env } });
  return { child, log };
}

/** This environment without what is said to a hub or agent of this machine. */
function ours(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BACKSTAY_')));
}

/** Waits until `look` gives something, and fails with what it said last. */
export async function eventually<T>(what: string, look: () => Promise<T | undefined> | T | undefined, limit = 30_000): Promise<T> {
  const end = Date.now() + limit;
  let last: unknown = 'nothing';
  for (;;) {
    try {
      const found = await look();
      if (found !== undefined) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited for ${what}: ${String(last)}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** Ends a program and waits until it is gone. */
export async function end(program: Program, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  const { child } = program;
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((done) => child.once('exit', done));
  child.kill(signal);
  const late = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await gone;
  clearTimeout(late);
}

/** Ends every process that was told a path below `dir` or runs in it. */
export async function endUnder(dir: string): Promise<void> {
  // A supervisor may start another one in between.
  for (let round = 0; round < 20; round += 1) {
    const found = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && belongs(name, dir));
    if (found.length === 0) return;
    for (const pid of found) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

function belongs(pid: string, dir: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`${dir}/`) || readlinkSync(`/proc/${pid}/cwd`).startsWith(`${dir}/`);
  } catch {
    return false;
  }
}
