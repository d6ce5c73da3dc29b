import type { Page } from '@playwright/test';

import { expect, open, test } from './test';

test('a token is made, shown once, works, and is taken away', async ({ owner, stage }) => {
  await open(owner, '/settings/tokens');
  await owner.getByLabel('What it is for').fill('a script');
  await owner.getByRole('button', { name: 'Make a token' }).click();
  const token = await shownOnce(owner);
  const asked = async () => (await fetch(new URL('/api/v1/hub', stage.url), { headers: { authorization: `Bearer ${token}` } })).status;
  expect(await asked()).toBe(200);
  await owner.reload();
  await expect(owner.getByRole('main')).toContainText('a script');
  await expect(owner.getByText(token), 'it is not shown again').toHaveCount(0);

  await owner.getByRole('listitem').filter({ hasText: 'a script' }).getByRole('button', { name: 'Revoke' }).click();
  await owner.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await expect.poll(asked).toBe(401);
});

test('a user is made and let in by the link that is shown', async ({ owner, browser }) => {
  await open(owner, '/settings/users');
  await owner.getByLabel('Name').fill('sam');
  await owner.getByRole('button', { name: 'Make a user' }).click();
  const page = await (await browser.newContext()).newPage();
  await page.goto(await shownOnce(owner));
  await expect(page.getByLabel(/password/i).first()).toBeVisible();
});

test('who did what to users is told in words', async ({ owner, stage }) => {
  const { name } = await stage.invite('viewer');
  await open(owner, '/timeline?span=1h');
  await expect(owner.getByRole('main')).toContainText(`local admin made the user ${name}, as viewer`);
});

test('a webhook gets a secret, and a delivery of its own form comes through', async ({ owner }) => {
  await open(owner, '/settings/webhooks');
  const github = owner.getByRole('region', { name: 'Webhook github' });
  await expect(github.getByRole('button', { name: 'Test' })).toBeDisabled();
  await github.getByRole('button', { name: 'Make a secret' }).click();
  await shownOnce(owner);
  await github.getByRole('button', { name: 'Test' }).click();
  await expect(github.getByRole('status').filter({ hasText: 'The hub answered' })).toContainText('✓');
  await expect(github).toContainText('last delivery');
});

/** What the page shows once and never again. */
async function shownOnce(page: Page): Promise<string> {
  const shown = page.getByRole('status').filter({ hasText: 'not shown again' }).locator('pre').first();
  await expect(shown).toBeVisible();
  return (await shown.innerText()).trim();
}
