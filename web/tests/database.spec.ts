// The hub's database goes away while the page is open: a hub on a real PostgreSQL server, and this machine's agent.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from '@playwright/test';

import { end, endUnder, eventually, type Program, start } from './processes';
import { PROGRAMS } from './stage';
import { open, picture, watch } from './test';

let dir: string;
let up: Program;
let database: Program;

/** Tells the server to stop or to start, and waits until it has. */
async function tell(word: 'stop' | 'start'): Promise<void> {
  const done = () => readFileSync(database.log, 'utf8').split('\n').filter((line) => line === 'done').length;
  const before = done();
  database.child.stdin?.write(`${word}\n`);
  await eventually(`the database to ${word}`, () => (done() > before ? true : undefined));
}

test.beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'backstay-database-'));
  database = start(join(PROGRAMS, 'backstay-parts'), ['postgres'], join(dir, 'database.log'), { BACKSTAY_CACHE: process.env.BACKSTAY_CACHE ?? '' });
  const url = await eventually('the database', () => /^postgres:.*$/m.exec(readFileSync(database.log, 'utf8'))?.[0]);
  const args = ['up', '--json', '--data-dir', join(dir, 'hub'), '--agent-dir', join(dir, 'agent'), '--name', 'here', '--listen', '127.0.0.1:0'];
  const own = { BACKSTAY_AGENT_ENV_DIR: join(dir, 'env'), BACKSTAY_AGENT_RUN_DIR: join(dir, 'run'), BACKSTAY_HUB_DATABASE_URL: url };
  up = start(join(PROGRAMS, 'backstay'), args, join(dir, 'up.log'), own);
});

test.afterEach(async () => {
  await end(up);
  // It ends its server and then itself; a signal would leave the server.
  const gone = new Promise((done) => database.child.once('exit', done));
  database.child.stdin?.end();
  await gone;
  await endUnder(dir);
  rmSync(dir, { recursive: true, force: true });
});

test('while the database is away the page shows what was known, says so, and is itself again when it is back', async ({ browser, contextOptions }, info) => {
  test.setTimeout(120_000);
  const troubles: string[] = [];
  const link = await eventually('a link to the page', () => /"page": ?"([^"]+)"/.exec(readFileSync(up.log, 'utf8'))?.[1]);
  const page = await browser.newPage({ ...contextOptions, baseURL: new URL(link).origin });
  watch(page, troubles);
  await page.goto(link);
  await expect(page.getByRole('navigation').first()).toBeVisible();
  const main = page.getByRole('main');
  const banner = page.getByRole('status').filter({ hasText: 'database is away' });
  await open(page, '/nodes');
  await expect(main).toContainText('here');
  await open(page, '/');
  await open(page, '/nodes/here');
  await open(page, '/nodes');
  await expect(banner).toHaveCount(0);

  await tell('stop');
  await expect(banner, 'nobody touched the page').toBeVisible({ timeout: 30_000 });
  expect(troubles.splice(0), 'what was asked before is answered').toEqual([]);
  await page.reload();
  await expect(main, 'a page that is opened now shows it too').toContainText('here');
  await expect(banner).toContainText('nothing can be changed until it is back');
  await open(page, '/');
  await open(page, '/nodes/here');
  await expect(banner).toBeVisible();
  await picture(page, 'database-away-1440-light', info);
  await page.setViewportSize({ width: 390, height: 844 });
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture(page, 'database-away-390-dark', info);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.goto('/#/settings/users');
  await expect(page.getByRole('alert'), 'what was never asked is not known').toContainText('database');
  await open(page, '/nodes');

  await tell('start');
  await expect(banner).toHaveCount(0, { timeout: 30_000 });
  await expect(page.getByRole('banner')).toContainText('live', { timeout: 30_000 });
  const others = troubles.splice(0).filter((trouble) => !/503/.test(trouble));
  expect(others).toEqual([]);
  await open(page, '/settings/users');
  expect(troubles).toEqual([]);
});
