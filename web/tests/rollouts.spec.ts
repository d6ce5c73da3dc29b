// The place for rollouts, on a laptop and on a phone: what runs, what holds it up, what may be done, how it ended.
import { expect, open, picture, settled, test, views } from './test';
import { agree } from './views';

interface Rollout { id: string; state: string; gate: string; overridden?: { reason: string } }

for (const [name, viewport] of Object.entries({ laptop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } })) {
  test.describe(name, () => {
    test.use({ viewport });

    test('a rollout is seen, overridden and aborted where all of them are', async ({ owner, stage }, info) => {
      const newest = async () => (await stage.get<{ items: Rollout[] }>('/api/v1/rollouts?limit=1')).items[0];
      stage.strategy('[rollout]\nwaves = ["name=web-1", "100%"]\nsoak = "1h"\n');
      stage.commit('columns', name === 'phone' ? '7' : '8', `Use columns for a ${name}`);
      await expect.poll(async () => (await newest())?.gate, { timeout: 30_000 }).toContain('watched for');
      await open(owner, '/');
      if (name === 'phone') {
        await owner.getByRole('button', { name: 'More' }).click();
        await owner.getByRole('link', { name: 'Rollouts' }).last().click();
      } else {
        await owner.keyboard.press('g');
        await owner.keyboard.press('r');
      }
      await expect(owner.getByRole('heading', { level: 1, name: 'Rollouts' })).toBeVisible();
      await settled(owner);

      const runs = owner.getByRole('region', { name: /^Rollout of page/ });
      await expect(runs.getByRole('list', { name: 'Waves' })).toContainText('name=web-1');
      await expect(runs).toContainText('they are watched');
      await expect(runs).toContainText(/the next wave may begin in (1 h|59 min)/);
      await picture(owner, `rollouts-running-${name}`, info);
      await runs.getByRole('link').first().click();
      const rules = owner.getByRole('row').filter({ hasText: 'failed_ratio > 0.05' });
      await expect(rules).toContainText('0.0 %');
      await expect(rules).toContainText('✓ fine');
      await expect(owner.getByRole('row').filter({ hasText: 'any failure among the first 20 attempts' })).toContainText('0 of 1 that ended');
      const needs = owner.getByRole('row').filter({ hasText: '1 of 1 node run it' });
      await expect(needs).toContainText('✓ enough');
      await picture(owner, `rollout-gate-${name}`, info);

      // Who pauses it is named where its gate would stand, until it goes on.
      const at = `/api/v1/rollouts/${(await newest())?.id ?? ''}`;
      await stage.call('POST', `${at}/pause`, { reason: `lunch on a ${name}` });
      const gate = owner.getByRole('status').filter({ hasText: 'It stands:' });
      await expect(gate).toContainText(`lunch on a ${name}`);
      await stage.call('POST', `${at}/resume`, { reason: 'back' });
      await expect(gate).toHaveCount(0);
      await expect(owner.getByRole('main').getByRole('status').filter({ hasText: 'Its gate:' })).toContainText('they are watched');
      await owner.goBack();

      // A freeze of everyone keeps the next wave closed: the rollout says so, and goes on in spite of it when told to.
      const freeze = await stage.call<{ id: string }>('POST', '/api/v1/constraints', { effect: 'freeze', reason: `quarter's end on a ${name}` });
      await expect(runs).toContainText(`quarter's end on a ${name}`, { timeout: 20_000 });
      await runs.getByRole('button', { name: 'Override freezes' }).click();
      await agree(owner, 'Go on in spite of them', 'a fix for the tills');
      await expect(runs).toContainText('Freezes and windows do not hold it: a fix for the tills');
      await expect(runs.getByRole('button', { name: 'Override freezes' })).toHaveCount(0);
      expect((await newest())?.overridden?.reason).toBe('a fix for the tills');
      await stage.call('POST', `/api/v1/constraints/${freeze.id}/lift`, { reason: 'over' });

      await runs.getByRole('button', { name: 'Abort' }).click();
      await agree(owner, 'Abort', `ugly on a ${name}`);
      await expect(runs).toHaveCount(0);
      const ended = owner.getByRole('listitem').filter({ hasText: `ugly on a ${name}` });
      await expect(ended).toContainText('halted');

      await ended.getByRole('link').first().click();
      const why = owner.getByRole('region', { name: 'Why it went as it did' });
      await expect(why.getByRole('listitem').filter({ hasText: 'aborted' })).toContainText(`ugly on a ${name}`);
      const began = why.getByRole('listitem').filter({ hasText: /^began/ });
      await began.getByText('What it was made from').click();
      await expect(began.locator('pre')).toContainText('"waves"');
      await why.getByRole('button', { name: 'Decide again' }).click();
      await expect(began).toContainText('✓ the same again');
      await expect(why).not.toContainText('✕ now');
      await picture(owner, `rollout-explained-${name}`, info);
      stage.strategy('');
      await stage.liftBans();
    });

    test('everything is stopped and let go on from there', async ({ owner, stage }, info) => {
      await open(owner, '/rollouts');
      const button = owner.getByRole('button', { name: 'Stop everything' });
      expect((await button.boundingBox())?.height ?? 0, 'a big button').toBeGreaterThanOrEqual(48);
      await button.click();
      await agree(owner, 'Stop everything', 'smoke in the hall');
      const alarm = owner.getByRole('alert').filter({ hasText: 'Everything is stopped' });
      await expect(alarm).toContainText('smoke in the hall');
      await picture(owner, `rollouts-stopped-${name}`, info);
      expect((await stage.get<{ stopped: boolean }>('/api/v1/emergency-stop')).stopped).toBe(true);
      await alarm.getByRole('button', { name: 'Let it go on' }).click();
      await agree(owner, 'Let it go on', 'it was the toaster');
      await expect(alarm).toHaveCount(0);
      expect((await stage.get<{ stopped: boolean }>('/api/v1/emergency-stop')).stopped).toBe(false);
    });

    test('those that ended are filtered by stack and by how', async ({ owner }) => {
      await open(owner, '/rollouts');
      const list = owner.getByRole('main').getByRole('listitem');
      await expect(list.filter({ hasText: 'superseded' }).or(list.filter({ hasText: 'succeeded' })).first()).toBeVisible();
      await owner.getByLabel('Only in this state').selectOption('succeeded');
      await expect(list.filter({ hasText: 'halted' })).toHaveCount(0);
      await expect(list.filter({ hasText: 'succeeded' }).first()).toBeVisible();
      expect(owner.url()).toContain('state=succeeded');
      await open(owner, '/rollouts?stack=no-such-stack');
      await expect(owner.getByText('None fits.')).toBeVisible();
      await owner.getByRole('button', { name: 'Clear the filters' }).click();
      await expect(list.filter({ hasText: 'succeeded' }).first()).toBeVisible();
    });
  });
}

test('what failed of a rollout that stopped is said, with the node and the conversation', async ({ owner, stage }, info) => {
  const { items } = await stage.get<{ items: (Rollout & { pattern?: { failed: number } })[] }>('/api/v1/rollouts?state=halted');
  const failed = items.find((one) => (one.pattern?.failed ?? 0) > 0);
  await open(owner, `/rollouts/${failed?.id ?? ''}`);
  const main = owner.getByRole('main');
  await expect(main.getByRole('heading', { name: 'What failed' })).toBeVisible();
  await expect(main.getByRole('link', { name: 'web-2' }).first()).toBeVisible();
  await expect(main.locator('a[href^="#/conversations/"]').first()).toBeVisible();
  await picture(owner, 'rollout-failed', info);
});

test('nothing of the navigation is cut off, however wide the window', async ({ owner }) => {
  await open(owner, '/rollouts');
  for (const width of [360, 600, 821, 900, 1200, 1201, 1240, 1320, 1321, 1440]) {
    await owner.setViewportSize({ width, height: 800 });
    const over = await owner.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(over, `pixels beyond the edge at ${width}`).toBeLessThanOrEqual(0);
    const shown = views(owner).getByRole('link').filter({ visible: true });
    for (const link of await shown.all()) {
      const box = await link.boundingBox();
      expect((box?.x ?? 0) + (box?.width ?? 0), `${await link.innerText()} at ${width}`).toBeLessThanOrEqual(width);
    }
    // What does not fit is behind "More", and everything is one of both.
    const more = views(owner).getByRole('button', { name: 'More' });
    let hidden = 0;
    if (await more.isVisible()) {
      await more.click();
      hidden = await owner.locator('#menu .places').getByRole('link').count();
      await owner.keyboard.press('Escape');
    }
    expect((await shown.count()) + hidden, `views at ${width}`).toBe(10);
  }
});
