import type { Page } from '@playwright/test';

import { expect, open, settled, test } from './test';

const chart = (page: Page) => page.getByRole('application');
const list = (page: Page) => page.locator('details', { hasText: 'The same as a list' });

/** Opens the timeline so that what the demonstration left fills the window. */
async function fitted(page: Page, query = ''): Promise<void> {
  await open(page, `/timeline${query}`);
  await page.getByRole('button', { name: 'Fit to what happened' }).click();
  await expect(page).toHaveURL(/since=/);
  await settled(page);
}

test('the window is moved and stretched by wheel, drag and keys, and stands in the address', async ({ owner }) => {
  await open(owner, '/timeline');
  const box = await chart(owner).boundingBox();
  if (!box) throw new Error('no chart');
  await owner.mouse.move(box.x + box.width / 2, box.y + 80);
  await owner.keyboard.down('Control');
  await owner.mouse.wheel(0, -300);
  await owner.keyboard.up('Control');
  await expect(owner).toHaveURL(/since=.*until=/);
  const zoomed = owner.url();

  await owner.mouse.down();
  await owner.mouse.move(box.x + box.width / 2 + 200, box.y + 80, { steps: 5 });
  await owner.mouse.up();
  await expect(owner).not.toHaveURL(zoomed);
  await expect(owner.getByRole('dialog'), 'a drag is no click').toHaveCount(0);

  await owner.getByRole('button', { name: '7 d' }).click();
  await expect(owner).toHaveURL(/span=7d/);
  await owner.goBack();
  await expect(owner).toHaveURL(/since=/);
  await chart(owner).focus();
  await owner.keyboard.press('End');
  await expect(owner).not.toHaveURL(/since=/);
});

test('a thing is reached, opened and left by the keyboard', async ({ owner }) => {
  await fitted(owner);
  await chart(owner).focus();
  for (const key of ['ArrowLeft', 'ArrowDown', 'ArrowUp']) await owner.keyboard.press(key);
  await owner.keyboard.press('Enter');
  const panel = owner.getByRole('dialog');
  await expect(panel).toBeFocused();
  await owner.keyboard.press('Escape');
  await expect(panel).toHaveCount(0);
  await expect(chart(owner)).toBeFocused();
});

test('a conversation is undone from the timeline, and what a return to before it would come to is shown', async ({ owner, stage }) => {
  const before = stage.upstream();
  await stage.converse('closing', 'From the timeline');
  await fitted(owner);
  await list(owner).locator('summary').click();
  await list(owner).getByRole('button', { name: /^Conversation: / }).first().click();
  await owner.getByRole('dialog').getByRole('button', { name: /undo this/i }).click();
  const dry = owner.getByRole('dialog', { name: /undo what this conversation changed/i });
  await expect(dry, 'the commits').toContainText(/commits? taken back/);
  await expect(dry, 'the nodes').toContainText('web-1');
  await expect(dry, 'the diff').toContainText('closing = From the timeline');
  expect(stage.upstream(), 'the dry run changes nothing').not.toBe(before);
  await dry.getByRole('button', { name: /^undo$/i }).click();
  await expect(owner).toHaveURL(/#\/undos\//);
  await expect(owner.getByText(/verified/i).first()).toBeVisible({ timeout: 30_000 });
  await expect.poll(() => stage.upstream()).toBe(before);

  await fitted(owner);
  await list(owner).locator('summary').click();
  await list(owner).getByRole('button', { name: /^Undo: / }).first().click();
  await owner.getByRole('dialog').getByRole('button', { name: /return to just before this/i }).click();
  const back = owner.getByRole('dialog', { name: /return to/i });
  await expect(back).toContainText('closing = From the timeline');
  await back.getByRole('button', { name: /leave it/i }).click();
  await expect(back).toHaveCount(0);
});

test('filters and kinds narrow what is drawn', async ({ owner }) => {
  await fitted(owner);
  await list(owner).locator('summary').click();
  await expect(list(owner).getByRole('button', { name: /^Commit: / }).first()).toBeVisible();
  await owner.getByRole('group', { name: 'Kinds of things' }).getByRole('button', { name: 'Commits' }).click();
  await expect(list(owner).getByRole('button', { name: /^Commit: / })).toHaveCount(0);
  await expect(owner).toHaveURL(/hide=commit/);
  await owner.getByLabel('Only this node').fill('web-2');
  await owner.getByLabel('Only this node').press('Enter');
  await expect(owner).toHaveURL(/node=web-2/);
  await expect(list(owner).getByRole('button', { name: /^Deployment: page on web-1/ })).toHaveCount(0);
  await expect(list(owner).getByRole('button', { name: /^Deployment: page on web-2/ }).first()).toBeVisible();
});

test('what happens is drawn as it happens', async ({ owner, stage }) => {
  await open(owner, '/timeline?span=300s');
  await list(owner).locator('summary').click();
  const { subject } = await stage.converse('greeting', 'Seen at once');
  await expect(list(owner).getByRole('button', { name: new RegExp(`^Commit: ${subject}`) }).first()).toBeVisible({ timeout: 5000 });
});

test('everything is reached by its name', async ({ owner }) => {
  await open(owner, '/');
  await owner.keyboard.press('Control+k');
  const palette = owner.getByRole('dialog', { name: /search/i });
  await palette.getByRole('combobox').fill('web-2');
  await expect(palette.getByRole('option', { name: /web-2/ }).first()).toBeVisible();
  await owner.keyboard.press('Enter');
  await expect(owner).toHaveURL(/#\/nodes\/web-2/);
  await expect(owner.getByRole('heading', { level: 1 })).toContainText('web-2');

  await owner.keyboard.press('Control+k');
  await expect(palette.getByRole('option', { name: /web-2/ }).first(), 'what was gone to lately').toBeVisible();
  await palette.getByRole('combobox').fill('timel');
  await owner.keyboard.press('Enter');
  await expect(owner).toHaveURL(/#\/timeline/);
  await owner.keyboard.press('g');
  await owner.keyboard.press('u');
  await expect(owner).toHaveURL(/#\/undos/);
  await expect(owner.getByRole('heading', { level: 1 }), 'the heading says where one came').toBeFocused();
});
