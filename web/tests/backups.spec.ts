// Backups with the real hub, agents and program: made, proven, looked into, held, restored, pruned; by those who may.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Page } from '@playwright/test';

import { expect, findings, open, picture, settled, test } from './test';
import { agree } from './views';

interface Snapshot { id: string; at: string; node_name: string | null; stack: string | null; proof: string; reason: string; deployment?: string | null; conversation?: string | null }
interface List<T> { items: T[] }

const PROVEN = ['verified', 'replicated', 'drilled'];
test.use({ backups: true });
test.describe.configure({ mode: 'serial' });

let folder = '';
test.beforeAll(({ stage }) => {
  for (const node of ['web-1', 'web-2', 'web-3']) {
    const state = stage.state(node);
    mkdirSync(join(state, 'orders', 'old'), { recursive: true });
    writeFileSync(join(state, 'orders', '2026.txt'), `the orders of ${node}\n`);
    writeFileSync(join(state, 'orders', 'old', '2025.txt'), 'older ones\n');
    writeFileSync(join(state, 'notes.txt'), 'as it was\n');
  }
  folder = join(stage.dir, 'restored');
});

/** Waits on the view of a job until it has ended, and says how. */
async function ends(page: Page): Promise<void> {
  await expect(page).toHaveURL(/#\/backups\/jobs\//);
  await expect(page.getByRole('status').filter({ hasText: /done|failed|cancelled/ })).toContainText('done', { timeout: 60_000 });
}

test('a node is backed up from its own view, and the snapshot proves itself', async ({ owner, stage }, info) => {
  test.setTimeout(120_000);
  await open(owner, '/nodes/web-1');
  const section = owner.getByRole('region', { name: 'Backups' });
  // The first comes by itself, since there is none.
  const now = section.getByRole('button', { name: 'Back up now' });
  await expect(now).toBeEnabled({ timeout: 60_000 });
  await now.click();
  const mine = async () => (await stage.get<List<Snapshot>>('/api/v1/backups/snapshots?node=web-1')).items;
  await expect.poll(async () => (await mine()).map((one) => one.reason), { timeout: 60_000 }).toEqual(['manual', 'schedule']);
  await expect.poll(async () => (await mine()).every((one) => PROVEN.includes(one.proof)), { timeout: 60_000 }).toBe(true);
  const newest = section.getByRole('listitem').filter({ hasText: 'on request' });
  await expect(newest).toContainText('verified', { timeout: 35_000 });
  await expect(section).toContainText('good', { timeout: 35_000 });
  await picture(owner, 'backups-node', info);
  // It is there in restic's format, and nothing of it can be read without a key.
  const found = readdirSync(stage.backups, { recursive: true, withFileTypes: true });
  expect(found.some((one) => one.name === 'config')).toBe(true);
  expect(found.filter((one) => one.isFile()).some((one) => readFileSync(join(one.parentPath, one.name)).includes('the orders of'))).toBe(false);
});

test('some nodes are backed up at once', async ({ owner, stage }, info) => {
  test.setTimeout(150_000);
  await open(owner, '/backups');
  await owner.getByRole('button', { name: 'Back up now' }).first().click();
  const dialog = owner.getByRole('dialog', { name: 'Back up now' });
  await expect(dialog.getByRole('status')).toContainText('It reaches 3 nodes.');
  await dialog.getByRole('radio', { name: 'Nodes with labels' }).check();
  await dialog.getByRole('textbox', { name: /^Labels/ }).fill('name in (web-2,web-3)');
  await expect(dialog.getByRole('status')).toContainText('It reaches 2 nodes: web-2, web-3.');
  await dialog.getByRole('button', { name: 'Begin' }).click();
  await expect(dialog).toHaveCount(0);
  await expect(owner.getByText('2 backups asked for.')).toBeVisible();
  await expect.poll(async () => {
    const { items } = await stage.get<List<{ name: string; state: string }>>('/api/v1/backups/nodes');
    return items.filter((one) => one.name.startsWith('web-')).map((one) => one.state);
  }, { timeout: 90_000 }).toEqual(['good', 'good', 'good']);
  await settled(owner);
  for (const name of ['web-1', 'web-2', 'web-3']) {
    await expect(owner.getByRole('listitem').filter({ has: owner.getByRole('link', { name, exact: true }) })).toContainText('good', { timeout: 35_000 });
  }
  await picture(owner, 'backups-fleet', info);
});

test('a snapshot is looked into, and some of it restored beside', async ({ owner }, info) => {
  test.setTimeout(120_000);
  await open(owner, '/backups/snapshots?node=web-1');
  await owner.getByRole('main').getByRole('listitem').first().getByRole('link').first().click();
  await expect(owner.getByRole('heading', { level: 1, name: /^Snapshot/ })).toBeVisible();
  await expect(owner.getByRole('list', { name: 'How far it is proven' }).locator('[aria-current=step]')).toContainText('verified');
  await owner.getByRole('button', { name: 'Look inside' }).click();
  const orders = owner.getByRole('checkbox', { name: /^Choose .*orders$/ });
  await expect(orders).toBeVisible({ timeout: 60_000 });
  await orders.check();
  await expect(owner.getByText('1 path chosen')).toBeVisible();
  await picture(owner, 'backups-snapshot', info);

  await owner.getByRole('button', { name: 'Restore these…' }).click();
  const dialog = owner.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'Folder' }).fill(folder);
  await expect(dialog.getByRole('listitem').first()).toBeVisible();
  await expect(dialog).toContainText("Nothing of today's data is lost.");
  expect(existsSync(folder), 'nothing is done before one says so').toBe(false);
  await picture(owner, 'backups-restore-folder', info);
  await dialog.getByRole('button', { name: 'Restore into the folder' }).click();
  await ends(owner);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  expect(files.map((one) => one.name).sort()).toEqual(['2025.txt', '2026.txt']);
  const newest = files.find((one) => one.name === '2026.txt');
  expect(readFileSync(join(newest?.parentPath ?? '', '2026.txt'), 'utf8')).toBe('the orders of web-1\n');
});

test('in place asks for the name of the node, and has a way back', async ({ owner, stage }, info) => {
  test.setTimeout(180_000);
  const notes = join(stage.state('web-1'), 'notes.txt');
  const first = (await stage.get<List<Snapshot>>('/api/v1/backups/snapshots?node=web-1')).items[0]?.id ?? '';
  writeFileSync(notes, 'overwritten by mistake\n');
  rmSync(join(stage.state('web-1'), 'orders'), { recursive: true });
  await open(owner, `/backups/snapshots/${first}`);
  await owner.getByRole('button', { name: 'Restore…' }).click();
  const dialog = owner.getByRole('dialog');
  await dialog.getByRole('radio', { name: "In place of today's data" }).check();
  await expect(dialog).toContainText("What of today's data is lost");
  const yes = dialog.getByRole('button', { name: 'Restore in place' });
  await expect(yes).toBeDisabled();
  await dialog.getByLabel(/^Type/).fill('web-2');
  await expect(yes).toBeDisabled();
  await dialog.getByLabel(/^Type/).fill('web-1');
  await picture(owner, 'backups-restore-in-place', info);
  await yes.click();
  await ends(owner);
  expect(readFileSync(notes, 'utf8')).toBe('as it was\n');
  expect(existsSync(join(stage.state('web-1'), 'orders', '2026.txt'))).toBe(true);
  await picture(owner, 'backups-restored', info);

  // The safety snapshot holds what was there, and leads back to it.
  await owner.getByRole('heading', { name: 'Safety snapshot' }).locator('xpath=following-sibling::ul[1]').getByRole('link').click();
  await expect(owner.getByRole('main')).toContainText('before a restore, as its way back');
});

test('what one node had is put in the place of what another has', async ({ owner, stage, troubles }, info) => {
  test.setTimeout(120_000);
  const first = (await stage.get<List<Snapshot>>('/api/v1/backups/snapshots?node=web-1&proof=verified')).items.at(-1)?.id ?? '';
  await open(owner, `/backups/snapshots/${first}`);
  await owner.getByRole('button', { name: 'Restore…' }).click();
  const dialog = owner.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'On the node' }).fill('web-9');
  await expect(dialog.getByRole('alert')).toContainText('web-9');
  expect(troubles.splice(0).filter((trouble) => !/404/.test(trouble)), 'only that there is no such node').toEqual([]);
  await dialog.getByRole('textbox', { name: 'On the node' }).fill('web-2');
  await dialog.getByRole('radio', { name: "In place of today's data" }).check();
  await expect(dialog).toContainText('web-2 reads the backups of web-1 through the hub');
  const yes = dialog.getByRole('button', { name: 'Restore in place' });
  await dialog.getByLabel(/^Type/).fill('web-1');
  await expect(yes).toBeDisabled();
  await dialog.getByLabel(/^Type/).fill('web-2');
  await picture(owner, 'backups-restore-elsewhere', info);
  await yes.click();
  await ends(owner);
  expect(readFileSync(join(stage.state('web-2'), 'orders', '2026.txt'), 'utf8')).toBe('the orders of web-1\n');
});

test('a snapshot is held, and released', async ({ owner, stage }) => {
  const { items } = await stage.get<List<Snapshot & { hold?: { reason: string } }>>('/api/v1/backups/snapshots?node=web-2');
  const id = items[0]?.id ?? '';
  await open(owner, `/backups/snapshots/${id}`);
  await owner.getByRole('button', { name: 'Hold' }).click();
  await agree(owner, 'Hold it', 'before the move');
  await expect(owner.getByText(/Held by .*: before the move/)).toBeVisible();
  await open(owner, '/backups/snapshots?node=web-2');
  await expect(owner.getByRole('listitem').filter({ hasText: 'held' })).toHaveCount(1);
  await open(owner, `/backups/snapshots/${id}`);
  await owner.getByRole('button', { name: 'Release' }).click();
  await agree(owner, 'Release');
  await expect(owner.getByText(/Held by/)).toHaveCount(0);
});

test('a repository is read back whole, and a prune says before what goes', async ({ owner, stage }, info) => {
  test.setTimeout(150_000);
  await open(owner, '/backups');
  const deeds = owner.getByRole('group', { name: 'What to do with backups of web-2' });
  await deeds.getByRole('button', { name: 'Verify' }).click();
  await agree(owner, 'Verify');
  await ends(owner);
  await expect(owner.getByRole('main')).toContainText(/read back from the target, all right/);

  await open(owner, '/backups');
  await deeds.getByRole('button', { name: 'Prune' }).click();
  const dialog = owner.getByRole('dialog');
  await expect(dialog).toContainText('No snapshot goes');
  await expect(dialog.getByRole('status')).toContainText(/would be freed now/, { timeout: 60_000 });
  await dialog.getByText('What stays, and why').click();
  await picture(owner, 'backups-prune', info);
  const before = (await stage.get<List<Snapshot>>('/api/v1/backups/snapshots?node=web-2')).items.length;
  await dialog.getByRole('button', { name: 'Prune' }).click();
  await ends(owner);
  expect((await stage.get<List<Snapshot>>('/api/v1/backups/snapshots?node=web-2')).items.length).toBe(before);
});

test('a drill is asked for, followed to its report, and counted', async ({ owner, stage }, info) => {
  test.setTimeout(150_000);
  const { items } = await stage.get<List<Snapshot>>('/api/v1/backups/snapshots?node=web-1');
  const proven = items.find((one) => PROVEN.includes(one.proof));
  await open(owner, `/backups/snapshots/${proven?.id}`);
  await owner.getByRole('button', { name: 'Drill…' }).click();
  const dialog = owner.getByRole('dialog');
  await expect(dialog).toContainText('What runs is not touched');
  await picture(owner, 'backups-drill', info);
  await dialog.getByRole('button', { name: 'Drill', exact: true }).click();
  await ends(owner);
  const checks = owner.getByRole('list', { name: 'What was checked' });
  await expect(checks.getByRole('listitem').first()).toContainText('passed');
  await expect(owner.getByRole('main')).toContainText(/Started\s*no: it runs under `process`/);
  await picture(owner, 'backups-drilled', info);
  expect(existsSync(join(stage.state('web-1'), '..', '..', '..', 'backups', 'drill')), 'nothing of it is left').toBe(false);
  await open(owner, `/backups/snapshots/${proven?.id}`);
  await expect(owner.getByRole('list', { name: 'How far it is proven' }).locator('[aria-current=step]')).toContainText('drilled');

  // All stacks of a node, from the list.
  await open(owner, '/backups');
  await owner.getByRole('group', { name: 'What to do with backups of web-2' }).getByRole('button', { name: 'Drill' }).click();
  await agree(owner, 'Drill');
  await ends(owner);
  await open(owner, '/backups');
  await expect(owner.getByRole('main')).toContainText(/Drills that passed in 90 days\s*100 % of 2/, { timeout: 30_000 });
  await expect(owner.getByRole('main')).toContainText('Restores in');
});

test('a deployment has the data from before it', async ({ owner, stage }, info) => {
  test.setTimeout(120_000);
  const { id } = await stage.converse('greeting', 'Hello, saved');
  const { items } = await stage.get<List<Snapshot>>('/api/v1/backups/snapshots');
  const before = items.filter((one) => one.reason === 'deployment');
  expect(before.map((one) => one.node_name).sort()).toEqual(['web-1', 'web-2', 'web-3']);
  expect(new Set(before.map((one) => one.conversation))).toEqual(new Set([id]));
  const deployment = before.find((one) => one.node_name === 'web-1')?.deployment ?? '';
  await open(owner, `/deployments/${deployment}`);
  const section = owner.getByRole('region', { name: 'Data from before it' });
  await expect(section.getByRole('listitem')).toHaveCount(1);
  await picture(owner, 'backups-deployment', info);
  await section.getByRole('link').first().click();
  await expect(owner.getByRole('main')).toContainText('before a deployment');
  await expect(owner.getByRole('main').getByRole('link', { name: /^deployment …/ })).toHaveAttribute('href', `#/deployments/${deployment}`);
  await expect(owner.getByRole('main').getByRole('link', { name: /^conversation …/ })).toHaveAttribute('href', `#/conversations/${id}`);
});

test('the recovery key is asked for until there is one', async ({ owner, stage }) => {
  await open(owner, '/backups');
  const key = owner.getByRole('region', { name: 'Recovery key' });
  await expect(key).toContainText('There is none.');
  const recipient = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';
  await stage.call('POST', '/api/v1/backups/recovery-key', { recipient });
  await expect(key).toHaveCount(0);
  await open(owner, '/backups/recovery-key');
  await expect(key).toContainText(recipient);
});

test('a viewer sees all of it and is offered none of it', async ({ as, stage }) => {
  const page = await as('viewer');
  const { items } = await stage.get<List<Snapshot>>('/api/v1/backups/snapshots?node=web-1');
  const jobs = await stage.get<List<{ id: string }>>('/api/v1/backups/jobs');
  const offered: string[] = [];
  for (const address of ['/backups', '/backups/snapshots', '/backups/jobs', '/backups/recovery-key', `/backups/snapshots/${items[0]?.id}`, `/backups/jobs/${jobs.items[0]?.id}`, '/nodes/web-1', '/stacks/page']) {
    await open(page, address);
    const buttons = page.getByRole('main').getByRole('button', { name: /back up|drill|verify|prune|cancel|hold|release|restore|look inside/i, disabled: false });
    offered.push(...(await buttons.allInnerTexts()).map((text) => `${address}: ${text}`));
  }
  expect(offered).toEqual([]);
  for (const [path, body] of [['/api/v1/backups', { all: true }], ['/api/v1/backups/prune', { node: 'web-1' }], ['/api/v1/backups/drills', { node: 'web-1' }]] as const) {
    const answer = await page.request.post(new URL(path, stage.url).href, { data: body, headers: { origin: stage.url } });
    expect(answer.status(), path).toBe(403);
  }
});

for (const [name, viewport] of Object.entries({ laptop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } })) {
  for (const colorScheme of ['light', 'dark'] as const) {
    test(`nothing serious is found on a ${name} in ${colorScheme}`, async ({ owner, stage }, info) => {
      const { items } = await stage.get<List<Snapshot>>('/api/v1/backups/snapshots?node=web-1');
      const jobs = await stage.get<List<{ id: string; task: string }>>('/api/v1/backups/jobs');
      const restore = jobs.items.find((one) => one.task === 'restore');
      await owner.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await owner.setViewportSize(viewport);
      const views = { fleet: '/backups', snapshots: '/backups/snapshots', jobs: '/backups/jobs', key: '/backups/recovery-key', snapshot: `/backups/snapshots/${items[0]?.id}`, job: `/backups/jobs/${restore?.id}` };
      for (const [view, address] of Object.entries(views)) {
        await open(owner, address);
        await picture(owner, `backups-${view}-${name}-${colorScheme}`, info);
        expect(await findings(owner), `${view} on a ${name} in ${colorScheme}`).toEqual([]);
        expect(await owner.evaluate(() => document.documentElement.scrollWidth - window.innerWidth), `${view} goes beyond the edge`).toBeLessThanOrEqual(0);
      }
    });
  }
}

test('views of backups are reached by key and by name', async ({ owner }) => {
  await open(owner, '/');
  await owner.keyboard.press('g');
  await owner.keyboard.press('b');
  await expect(owner.getByRole('heading', { level: 1, name: 'Backups' })).toBeVisible();
  await owner.keyboard.press('Control+k');
  await owner.keyboard.type('over');
  await owner.keyboard.press('Enter');
  await expect(owner.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  await owner.keyboard.press('Control+k');
  await owner.keyboard.type('backups');
  await owner.keyboard.press('Enter');
  await expect(owner.getByRole('heading', { level: 1, name: 'Backups' })).toBeVisible();
});
