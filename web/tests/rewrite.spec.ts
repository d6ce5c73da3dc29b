import type { components } from '../src/lib/api.gen';
import { expect, open, test } from './test';

type Schemas = components['schemas'];

test('a history that was rewritten is deployed once someone accepts it, and not before', async ({ owner, as, stage }) => {
  const { subject } = await stage.converse('closing', `Before the rewrite ${Date.now()}`);
  expect(stage.upstreamMessage()).toContain(subject);
  const value = `After the rewrite ${Date.now()}`;
  const tip = stage.rewrite('closing', value);
  const { items } = await stage.get<{ items: Schemas['Repository'][] }>('/api/v1/repositories');
  const name = items[0]?.name ?? '';

  const viewer = await as('viewer');
  await open(viewer, '/settings/repositories');
  await expect(viewer.getByRole('main')).toContainText('its history was rewritten', { timeout: 20_000 });
  await expect(viewer.getByRole('button', { name: 'Accept the rewrite' })).toBeDisabled();

  await open(owner, '/');
  await expect(owner.getByRole('region', { name: 'What needs a person' })).toContainText('rewritten upstream');
  await owner.getByRole('link', { name: 'To the repositories' }).click();
  await owner.getByRole('button', { name: 'Accept the rewrite' }).click();
  const dialog = owner.getByRole('dialog');
  await expect(dialog).toContainText(tip.slice(0, 7));
  const tipOf = async () => (await stage.get<{ items: Schemas['Repository'][] }>('/api/v1/repositories')).items[0]?.tip;
  expect(await tipOf(), 'nothing moved before it was accepted').not.toBe(tip);
  await dialog.getByRole('button', { name: /^Accept/ }).click();
  await expect(dialog).toHaveCount(0);

  await expect.poll(tipOf, { timeout: 20_000 }).toBe(tip);
  await expect(owner.getByRole('main')).not.toContainText('its history was rewritten');
  const running = async () => {
    const { items: stacks } = await stage.get<{ items: Schemas['StackView'][] }>('/api/v1/stacks');
    return stacks.some((one) => JSON.stringify(one).includes(tip));
  };
  await expect.poll(running, { timeout: 20_000, message: `${name} is deployed from the new history` }).toBe(true);
});
