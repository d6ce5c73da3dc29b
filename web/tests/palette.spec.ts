import { expect, open, test } from './test';

test('the palette goes to a node by its name', async ({ owner }) => {
  await open(owner, '/');
  await owner.keyboard.press('Control+k');
  const palette = owner.getByRole('dialog');
  await palette.getByRole('combobox').fill('web-2');
  await expect(palette.getByRole('option', { name: /web-2/ }).first()).toBeVisible();
  await owner.keyboard.press('Enter');
  await expect(owner.getByRole('heading', { level: 1, name: /web-2/ })).toBeVisible();
});

test('keys go to views, and say what they do', async ({ owner }) => {
  await open(owner, '/');
  await owner.keyboard.press('g');
  await owner.keyboard.press('n');
  await expect(owner.getByRole('heading', { level: 1, name: 'Nodes' })).toBeVisible();
  await owner.keyboard.press('?');
  await expect(owner.getByRole('dialog')).toBeVisible();
  await owner.keyboard.press('Escape');
  await expect(owner.getByRole('dialog')).toHaveCount(0);
});
