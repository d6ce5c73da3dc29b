// What can be done in the page beside an undo, on a laptop and on a phone.
import { expect, open, test } from './test';
import { agree } from './views';

for (const [name, viewport] of Object.entries({ laptop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } })) {
  test.describe(name, () => {
    test.use({ viewport });

    test('a conversation is held, and its hold is lifted', async ({ owner, stage }) => {
      const { id } = await stage.converse('greeting', `Held on a ${name}`);
      await open(owner, `/conversations/${id}`);
      await owner.getByRole('button', { name: 'Hold it' }).click();
      await agree(owner, 'Hold it', `not on a ${name}`);
      const constraints = async () => (await stage.get<{ items: { reason: string }[] }>('/api/v1/constraints')).items.map((one) => one.reason);
      await expect.poll(constraints).toContain(`not on a ${name}`);
      await open(owner, '/stacks/page');
      await owner.getByRole('listitem').or(owner.getByRole('row')).filter({ hasText: `not on a ${name}` }).getByRole('button', { name: /^Lift/ }).first().click();
      await agree(owner, 'Lift it', 'it may go');
      await expect.poll(constraints).not.toContain(`not on a ${name}`);
    });

    test('logs are followed live', async ({ owner }) => {
      await open(owner, '/nodes/web-1');
      await owner.getByRole('button', { name: /Follow the logs of page/ }).first().click();
      await expect(owner.getByRole('log').first()).toBeVisible();
      await owner.getByRole('button', { name: 'Close the logs' }).click();
      await expect(owner.getByRole('log')).toHaveCount(0);
    });

    test('a node is taken out', async ({ owner, stage }) => {
      await stage.silentNode(`spare-${name}`);
      await open(owner, `/nodes/spare-${name}`);
      await owner.getByRole('button', { name: /^Revoke/ }).click();
      await agree(owner, 'Revoke');
      await expect(owner.getByRole('main')).toContainText('revoked');
      const { state } = await stage.get<{ state: string }>(`/api/v1/nodes/spare-${name}`);
      expect(state).toBe('revoked');
    });

    test('a rollout in waves is paused, let go on and promoted, and everything is stopped', async ({ owner, stage }) => {
      stage.strategy('[rollout]\nwaves = ["name=web-1", "100%"]\nsoak = "1h"\n');
      stage.commit('columns', name === 'phone' ? '3' : '4', `Use other columns on a ${name}`);
      const newest = async () => (await stage.get<{ items: { id: string; state: string; gate: string }[] }>('/api/v1/rollouts?limit=1')).items[0];
      await expect.poll(async () => (await newest())?.gate, { timeout: 20_000 }).toContain('watched for');
      await open(owner, `/rollouts/${(await newest())?.id ?? ''}`);
      await owner.getByRole('button', { name: 'Pause' }).click();
      await agree(owner, 'Pause', 'lunch');
      await expect(owner.getByRole('main')).toContainText('lunch');
      await owner.getByRole('button', { name: 'Go on' }).click();
      await agree(owner, 'Go on', 'back');

      await open(owner, '/');
      await owner.getByRole('button', { name: 'Stop everything' }).click();
      await agree(owner, 'Stop everything', 'smoke');
      const alarm = owner.getByRole('alert').filter({ hasText: 'Everything is stopped' });
      await expect(alarm).toContainText('smoke');
      await alarm.getByRole('button', { name: 'Let it go on' }).click();
      await agree(owner, 'Let it go on', 'it was toast');
      await expect(alarm).toHaveCount(0);

      await open(owner, `/rollouts/${(await newest())?.id ?? ''}`);
      await owner.getByRole('button', { name: 'Open the next wave' }).click();
      await agree(owner, 'Open it', 'it is good');
      await expect.poll(async () => (await newest())?.state, { timeout: 20_000 }).toBe('succeeded');
      stage.strategy('');
    });
  });
}
