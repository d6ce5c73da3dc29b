import { expect, open, test } from './test';

test('a conversation is undone in the page alone, and upstream is as before', async ({ owner, stage }) => {
  const before = stage.upstream();
  const { id, subject } = await stage.converse('closing', 'See you tomorrow');
  expect(stage.upstream()).toContain('closing = See you tomorrow');

  await open(owner, '/conversations');
  await owner.locator(`a[href="#/conversations/${id}"]`).first().click();
  await expect(owner.getByRole('main')).toContainText(subject);

  await owner.getByRole('button', { name: /^undo this/i }).click();
  const dialog = owner.getByRole('dialog');
  await expect(dialog, 'the dry run names the file').toContainText('page.conf');
  for (const node of ['web-1', 'web-2', 'web-3']) await expect(dialog).toContainText(node);
  expect(stage.upstream(), 'the dry run changes nothing').toContain('closing = See you tomorrow');

  await dialog.getByLabel(/why|reason/i).fill('the page says so');
  await dialog.getByRole('button', { name: /^undo/i }).click();
  await expect(owner.getByText(/verified/i).first()).toBeVisible({ timeout: 30_000 });

  await expect.poll(() => stage.upstream()).toBe(before);
  expect(stage.upstreamMessage()).toContain('Backstay-Undo: ');
  await open(owner, `/conversations/${id}`);
  await expect(owner.getByText(/undone/i).first()).toBeVisible();
});

test('an undo is undone', async ({ owner, stage }) => {
  const { id } = await stage.converse('columns', '11');
  const undo = await stage.call<{ id: string }>('POST', '/api/v1/undos', {
    selector: { select: 'conversation', conversation: id, meaning: 'only_its' },
    scope: { nodes: null, stack: null },
    reason: '',
    include_guesses: [],
  });
  await open(owner, `/undos/${undo.id}`);
  await expect(owner.getByText(/verified/i).first()).toBeVisible({ timeout: 30_000 });
  await expect.poll(() => stage.upstream()).not.toContain('columns = 11');

  await owner.getByRole('button', { name: /undo (the|this) undo/i }).click();
  const dialog = owner.getByRole('dialog');
  await expect(dialog).toContainText('page.conf');
  await dialog.getByRole('button', { name: /^undo/i }).click();
  await expect.poll(() => stage.upstream(), { timeout: 30_000 }).toContain('columns = 11');
});
