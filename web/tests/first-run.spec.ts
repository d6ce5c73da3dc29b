// From nothing to the first deployed stack, in the page alone: a hub and this machine's agent, and one's own repository.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from '@playwright/test';

import { end, endUnder, eventually, type Program, start } from './processes';
import { PROGRAMS } from './stage';
import { watch } from './test';

let dir: string;
let up: Program;

test.beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'backstay-first-'));
  const args = ['up', '--json', '--data-dir', join(dir, 'hub'), '--agent-dir', join(dir, 'agent'), '--name', 'here', '--listen', '127.0.0.1:0'];
  const own = { BACKSTAY_AGENT_ENV_DIR: join(dir, 'env'), BACKSTAY_AGENT_RUN_DIR: join(dir, 'run'), BACKSTAY_AGENT_DISK_MARGIN_BYTES: '10000000' };
  up = start(join(PROGRAMS, 'backstay'), args, join(dir, 'up.log'), own);
});

test.afterEach(async () => {
  await end(up);
  await endUnder(dir);
  rmSync(dir, { recursive: true, force: true });
});

test('a repository is looked at, added, and its stack runs', async ({ page }) => {
  const troubles: string[] = [];
  watch(page, troubles);
  const link = await eventually('a link to the page', () => /"page": ?"([^"]+)"/.exec(readFileSync(up.log, 'utf8'))?.[1]);
  await page.goto(link);
  await expect(page.getByRole('navigation').first()).toBeVisible();
  await page.goto(`${new URL(link).origin}/#/welcome`);
  await expect(page.getByRole('heading', { name: /step 2: done/ }), 'this machine is a node').toBeVisible({ timeout: 20_000 });

  await page.getByLabel('Address').fill(repository());
  await page.getByRole('button', { name: 'Look what is there' }).click();
  await expect(page.getByRole('main')).toContainText(/1 stack\b/);
  await page.getByRole('button', { name: 'Add fleet' }).click();

  await expect(page.getByRole('heading', { name: /step 3: done/ })).toBeVisible({ timeout: 30_000 });
  await page.goto(`${new URL(link).origin}/#/nodes/here`);
  await expect(page.getByRole('main')).toContainText('clock');
  await expect(page.getByRole('main')).toContainText(/healthy/i);
  expect(troubles).toEqual([]);
});

/** A repository with one stack of one process. */
function repository(): string {
  const [tree, bare] = [join(dir, 'work'), join(dir, 'fleet.git')];
  mkdirSync(join(tree, 'stacks', 'clock'), { recursive: true });
  writeFileSync(join(tree, 'stacks', 'clock', 'stack.toml'), 'runtime = "process"\n\n[[process]]\nname = "clock"\ncommand = ["sleep", "86400"]\n');
  const git = (...args: string[]) => execFileSync('git', ['-c', 'user.name=Someone', '-c', 'user.email=someone@localhost', ...args], { stdio: 'pipe' });
  git('init', '--quiet', '--bare', '--initial-branch=main', bare);
  git('-C', tree, 'init', '--quiet', '--initial-branch=main');
  git('-C', tree, 'add', '--all');
  git('-C', tree, 'commit', '--quiet', '--message', 'A clock');
  git('-C', tree, 'push', '--quiet', bare, 'main');
  return bare;
}
