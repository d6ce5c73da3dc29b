// Each test is a picture. They are of one size, and of what the demonstration leaves, so that only the page changes them.
import { mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { Page } from '@playwright/test';

import type { Stage } from '../tests/stage';
import { expect, open, test } from '../tests/test';
import { addresses } from '../tests/views';

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'docs', 'pictures');
const MOST = 300_000;
const LAPTOP = { viewport: { width: 1200, height: 750 }, deviceScaleFactor: 1.5, reducedMotion: 'reduce' } as const;
const PHONE = { viewport: { width: 390, height: 780 }, deviceScaleFactor: 1.5, reducedMotion: 'reduce' } as const;

test.describe.configure({ mode: 'serial' });

test.describe('light', () => {
  test.use({ contextOptions: { ...LAPTOP, colorScheme: 'light' } });

  test('timeline', async ({ owner }) => {
    await open(owner, '/timeline?span=40s');
    await take(owner, 'timeline');
  });
  test('overview', async ({ owner }) => {
    await open(owner, '/');
    await take(owner, 'overview');
  });
  test('conversation', async ({ owner, stage }) => {
    await open(owner, await ofOpenClaw(stage));
    await take(owner, 'conversation');
  });
  test('undo', async ({ owner, stage }) => {
    await open(owner, await ofOpenClaw(stage));
    await owner.getByRole('button', { name: /^undo this/i }).click();
    await expect(owner.getByRole('dialog')).toContainText('page.conf');
    await take(owner, 'undo');
  });
  test('deployment', async ({ owner, stage }) => {
    await open(owner, (await addresses(stage)).deployment);
    await take(owner, 'deployment');
  });
  test('why', async ({ owner, stage }) => {
    await open(owner, `${(await addresses(stage)).why}&line=5`);
    await take(owner, 'why');
  });
});

test.describe('dark', () => {
  test.use({ contextOptions: { ...LAPTOP, colorScheme: 'dark' } });
  test('node', async ({ owner }) => {
    await open(owner, '/nodes/web-2');
    await take(owner, 'node-dark');
  });
});

test.describe('phone', () => {
  test.use({ contextOptions: { ...PHONE, colorScheme: 'light' } });
  test('overview on a phone', async ({ owner }) => {
    await open(owner, '/');
    await take(owner, 'overview-phone');
  });
});

/** The conversation that the demonstration leaves as it is. */
async function ofOpenClaw(stage: Stage): Promise<string> {
  const { items } = await stage.get<{ items: { id: string; tool: string }[] }>('/api/v1/conversations');
  return `/conversations/${items.find((one) => one.tool === 'openclaw')?.id ?? ''}`;
}

/** Takes a picture of what is in view once it has come to rest. */
async function take(page: Page, name: string): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  const path = join(FOLDER, `${name}.png`);
  await expect(page.getByRole('banner')).toContainText('live');
  await page.evaluate(() => document.fonts.ready);
  await page.waitForTimeout(800);
  await page.mouse.move(0, 0);
  await page.screenshot({ path, animations: 'disabled', caret: 'hide' });
  expect(statSync(path).size, `bytes of ${name}.png`).toBeLessThan(MOST);
}
