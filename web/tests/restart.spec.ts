import { expect, open, test } from './test';

test('a page says that it is stale while the hub is away, and catches up when it is back', async ({ owner, stage, troubles }) => {
  await open(owner, '/timeline');
  const state = owner.getByRole('banner');
  await expect(state).toContainText('live');

  await stage.killHub();
  await expect(state).toContainText('stale', { timeout: 20_000 });
  const subject = 'Say that the hub was away';
  stage.commit('closing', 'We were away', subject);
  await expect(owner.getByRole('heading', { level: 1 }), 'what was there stays').toBeVisible();

  await stage.startHub();
  await expect(state).not.toContainText('stale', { timeout: 30_000 });
  await expect(state).toContainText('live');
  await expect(owner.getByRole('main').getByText(subject).first()).toBeVisible({ timeout: 30_000 });
  // Requests failed while the hub was away; nothing else may have gone wrong.
  const others = troubles.splice(0).filter((trouble) => !/ERR_(CONNECTION|EMPTY|INCOMPLETE|NETWORK)/.test(trouble));
  expect(others).toEqual([]);
});
