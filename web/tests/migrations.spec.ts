// A stack moves from one node to another with its data, watched, compared, and taken back; with the real hub, agents and program.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Page } from '@playwright/test';

import { expect, findings, open, picture, test } from './test';

interface Migration { id: string; state: string; back_of?: string | null; stacks: { step: string; checks: { from?: string; to?: string }[] }[] }
interface Observed { stack: string; current?: string | null }

test.use({ backups: true });
test.describe.configure({ mode: 'serial' });

const ASSIGN = (nodes: string) => `[[assign]]\nstack = "page"\nnodes = "name in (${nodes})"\n\n[prune]\nenabled = true\nmax = "50%"\n`;

test.beforeAll(async ({ stage }) => {
  test.setTimeout(120_000);
  const state = stage.state('web-1');
  mkdirSync(join(state, 'orders'), { recursive: true });
  writeFileSync(join(state, 'orders', '2026.txt'), 'the orders of web-1\n');
  // The second node is free for it.
  stage.strategy(ASSIGN('web-1,web-3'));
  await expect.poll(async () => {
    const { observed } = await stage.get<{ observed: Observed[] }>('/api/v1/nodes/web-2');
    return observed.filter((one) => one.stack === 'page' && one.current).length;
  }, { timeout: 90_000 }).toBe(0);
});

/** Waits on the view of a migration until all of it has moved. */
async function moves(page: Page): Promise<void> {
  await expect(page).toHaveURL(/#\/migrations\//);
  await expect(page.getByRole('status').filter({ hasText: /done|partly|failed|cancelled/ })).toContainText('done', { timeout: 120_000 });
}

test('what a move comes to is said before, and without a word nothing moves', async ({ owner, stage, troubles }, info) => {
  await open(owner, '/nodes/web-1');
  await owner.getByRole('button', { name: 'Move stacks…' }).click();
  const dialog = owner.getByRole('dialog', { name: 'Move stacks of web-1' });
  await expect(dialog).toContainText('Say to which node.');
  const yes = dialog.getByRole('button', { name: 'Move' });
  await expect(yes).toBeDisabled();
  await dialog.getByLabel('To the node').fill('web-3');
  await expect(dialog.getByRole('alert')).toContainText('page');
  expect(troubles.splice(0).filter((trouble) => !/40[49]|422/.test(trouble)), 'only that it cannot move there').toEqual([]);
  await expect(yes).toBeDisabled();
  await dialog.getByLabel('To the node').fill('web-2');
  const plan = dialog.getByRole('region', { name: 'page' });
  await expect(plan).toContainText('Moves');
  await expect(plan).toContainText('stands still');
  await expect(plan).toContainText('.env.template');
  expect(await findings(owner)).toEqual([]);
  await picture(owner, 'migration-plan', info);
  await dialog.getByRole('button', { name: 'Leave it' }).click();
  expect((await stage.get<{ items: Migration[] }>('/api/v1/migrations')).items).toEqual([]);
});

test('a stack moves, step by step, and what arrived is equal', async ({ owner, stage }, info) => {
  test.setTimeout(180_000);
  await open(owner, '/nodes/web-1');
  await owner.getByRole('button', { name: 'Move stacks…' }).click();
  const dialog = owner.getByRole('dialog');
  await dialog.getByLabel('To the node').fill('web-2');
  await dialog.getByLabel(/^Why/).fill('a larger machine');
  const yes = dialog.getByRole('button', { name: 'Move' });
  await expect(yes).toBeEnabled();
  await yes.click();
  const steps = owner.getByRole('list', { name: 'Steps of page' });
  await expect(steps.getByRole('listitem')).toHaveCount(5);
  await moves(owner);
  await expect(steps.getByRole('listitem').filter({ hasText: ', done' })).toHaveCount(5);
  const compared = owner.getByRole('list', { name: 'Compared on both nodes' }).getByRole('listitem');
  await expect(compared.first()).toContainText('equal');
  await expect(compared.filter({ hasText: 'not equal' })).toHaveCount(0);
  await expect(owner.getByRole('region', { name: 'Stack page' })).toContainText('runs on web-2');
  await expect(owner.getByRole('main')).toContainText('a larger machine');
  await expect(owner.getByRole('heading', { name: 'Not in fleet.toml yet' })).toBeVisible();
  expect(readFileSync(join(stage.state('web-2'), 'orders', '2026.txt'), 'utf8')).toBe('the orders of web-1\n');
  expect(existsSync(join(stage.state('web-1'), 'orders', '2026.txt')), 'the data that was left stays').toBe(true);
  expect(await findings(owner)).toEqual([]);
  await picture(owner, 'migration-done', info);
  await open(owner, '/limits');
  await expect(owner.getByRole('listitem').filter({ hasText: 'Moved here' })).toContainText('page');
});

test('it goes back in one click, with what was written since', async ({ owner, stage }, info) => {
  test.setTimeout(180_000);
  writeFileSync(join(stage.state('web-2'), 'orders', 'since.txt'), 'of web-2\n');
  await open(owner, '/migrations?node=web-2');
  await owner.getByRole('main').getByRole('listitem').getByRole('link', { name: 'page' }).click();
  await owner.getByRole('button', { name: 'Take it back' }).click();
  const dialog = owner.getByRole('dialog', { name: 'Take it back to web-1' });
  await expect(dialog.getByRole('region', { name: 'page' })).toContainText('Moves');
  await picture(owner, 'migration-back', info);
  await dialog.getByRole('button', { name: 'Take it back' }).click();
  await expect(dialog).toHaveCount(0);
  await expect(owner.getByRole('heading', { level: 1 })).toContainText('From web-2 to web-1');
  await moves(owner);
  expect(readFileSync(join(stage.state('web-1'), 'orders', 'since.txt'), 'utf8')).toBe('of web-2\n');
  const { items } = await stage.get<{ items: Migration[] }>('/api/v1/migrations');
  expect(items.map((one) => one.state)).toEqual(['done', 'done']);
  expect(items[0]?.back_of).toBe(items[1]?.id);
});

test('a viewer sees it and moves nothing', async ({ as }) => {
  const viewer = await as('viewer');
  await open(viewer, '/nodes/web-1');
  await expect(viewer.getByRole('button', { name: /Move stacks…/ })).toBeDisabled();
  await open(viewer, '/migrations');
  await viewer.getByRole('main').getByRole('listitem').first().getByRole('link').click();
  await expect(viewer.getByRole('heading', { level: 1 })).toContainText('From web-2 to web-1');
  await expect(viewer.getByRole('button', { name: /Take it back/ })).toBeDisabled();
});
