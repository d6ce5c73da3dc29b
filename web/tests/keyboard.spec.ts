import { expect, open, test } from './test';
import { addresses } from './views';

test('an undo is looked at and left by the keyboard alone', async ({ owner, stage }) => {
  await open(owner, (await addresses(stage)).undos);
  const button = owner.getByRole('button', { name: /undo the last/i });
  for (let presses = 0; presses < 60 && !(await button.evaluate((one) => one === document.activeElement)); presses += 1) {
    await owner.keyboard.press('Tab');
  }
  await expect(button).toBeFocused();
  await owner.keyboard.press('Enter');
  const dialog = owner.getByRole('dialog');
  await expect(dialog.getByLabel(/why|reason/i)).toBeVisible();
  expect(await dialog.evaluate((one) => one.contains(document.activeElement)), 'focus is in the dialog').toBe(true);
  for (let presses = 0; presses < 12; presses += 1) {
    await owner.keyboard.press('Tab');
    const outside = await owner.evaluate(() => document.activeElement !== document.body && !document.activeElement?.closest('dialog,[role=dialog]'));
    expect(outside, 'focus stays in the dialog').toBe(false);
  }
  await owner.keyboard.press('Escape');
  await expect(dialog).toHaveCount(0);
  await expect(button, 'focus is back where it was').toBeFocused();
});
