import { choosePassword, expect, test, views, watch } from './test';

test('a one-time link opens the page signed in, once', async ({ browser, stage, troubles }) => {
  const link = await stage.link();
  const page = await (await browser.newContext()).newPage();
  watch(page, troubles);
  await page.goto(link);
  await expect(views(page)).toBeVisible();
  expect(page.url(), 'the code leaves the address').not.toContain('bsl.');

  const other = await (await browser.newContext()).newPage();
  await other.goto(link);
  await expect(other.getByRole('alert')).toBeVisible();
  await expect(other.getByRole('link', { name: 'Overview' })).toHaveCount(0);
});

test('a new user chooses a password, signs out, and signs in by it', async ({ browser, stage }) => {
  const person = await stage.invite('operator');
  const page = await (await browser.newContext({ baseURL: stage.url })).newPage();
  await page.goto(person.link);
  await choosePassword(page, person.password);
  await expect(views(page)).toBeVisible();

  await page.getByRole('button', { name: /account/i }).click();
  await page.getByRole('button', { name: 'Sign out', exact: true }).click();
  await expect(page.getByLabel('Name')).toBeVisible();
  await page.goto('/#/nodes');
  await expect(page.getByLabel('Name'), 'no view without a session').toBeVisible();

  await page.getByLabel('Name').fill(person.name);
  await page.getByLabel(/^password/i).fill('not the password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toBeVisible();

  await page.getByLabel(/^password/i).fill(person.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('heading', { name: 'Nodes' })).toBeVisible();
  const cookie = (await page.context().cookies()).find((one) => one.name === '__Host-backstay');
  expect(cookie).toMatchObject({ httpOnly: true, secure: true, sameSite: 'Strict', path: '/' });
});

test('a disabled user is signed out at once', async ({ browser, stage }) => {
  const person = await stage.invite('viewer');
  const page = await (await browser.newContext({ baseURL: stage.url })).newPage();
  await page.goto(person.link);
  await choosePassword(page, person.password);
  await expect(views(page)).toBeVisible();
  await stage.call('POST', `/api/v1/users/${person.name}`, { disabled: true });
  await expect(page.getByLabel('Name'), 'the page hears of it by itself').toBeVisible();
});
