// The place for rollouts, on a laptop and on a phone: what runs, what holds it up, what may be done, how it ended.
import { eventually } from './processes';
import { expect, findings, open, picture, settled, test, views } from './test';
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

test('what the next wave waits for is told with figures, and why it waited is decided again', async ({ owner, stage }, info) => {
  // Two of the first wave have no room for it, so that too few run it.
  const full = ['full-1', 'full-2'];
  const credentials = new Map<string, string>();
  for (const node of full) credentials.set(node, await stage.silentNode(node));
  stage.strategy('[rollout]\nwaves = ["name in (web-1,full-1,full-2)", "100%"]\nsoak = "1h"\n[[rollout.stop]]\nwhen = "failed_ratio > 0.05"\n');
  stage.commit('columns', '5', 'Use columns for the gate');
  const commit = stage.tip();
  const rollout = await eventually('its rollout', async () => {
    const { items } = await stage.get<{ items: (Rollout & { commit: string })[] }>('/api/v1/rollouts?state=running');
    return items.find((one) => one.commit === commit);
  });
  const planned = await eventually('its deployments', async () => {
    const { items } = await stage.get<{ items: { id: string; node_name: string }[] }>(`/api/v1/deployments?rollout=${rollout.id}`);
    const found = items.filter((one) => full.includes(one.node_name));
    return found.length === full.length ? found : undefined;
  });
  for (const one of planned) {
    const says = (what: object) => stage.reports(credentials.get(one.node_name) ?? '', { deployment: one.id, ...what });
    await says({ report: 'deployment_started', previous: null });
    const state = { state: 'failed', step: 'fetch', failure: 'disk_full', reason: 'no space left on device' };
    await says({ report: 'deployment_finished', state, containers: [] });
  }

  const waits = '1 of 3 nodes run it, 0 failed; the next wave begins once 2 do';
  await open(owner, `/rollouts/${rollout.id}`);
  await expect(owner.getByRole('main').getByRole('status').filter({ hasText: 'Its gate:' })).toContainText(waits, { timeout: 30_000 });
  const needs = owner.getByRole('row').filter({ hasText: '2 of 3 nodes run it' });
  await expect(needs).toContainText('not yet');
  await expect(owner.getByRole('row').filter({ hasText: '2 have tried it' })).toContainText('not yet');
  await picture(owner, 'rollout-waits', info);

  const why = owner.getByRole('region', { name: 'Why it went as it did' });
  const waited = why.getByRole('listitem').filter({ hasText: waits }).last();
  await waited.getByText('What it was made from').click();
  await expect(waited.locator('pre')).toContainText('"min_success_percent": 50');
  await why.getByRole('button', { name: 'Decide again' }).click();
  await expect(waited).toContainText('✓ the same again');
  await expect(why).not.toContainText('✕ now');
  expect(await findings(owner)).toEqual([]);

  // The overview says it too.
  await open(owner, '/');
  await expect(owner.getByRole('main').getByRole('link').filter({ hasText: 'Its gate:' })).toContainText('the next wave begins once 2 do');

  await stage.call('POST', `/api/v1/rollouts/${rollout.id}/abort`, { reason: 'enough' });
  for (const node of full) await stage.call('POST', `/api/v1/nodes/${node}/revoke`);
  stage.strategy('');
  await stage.liftBans();
});

test('what sets those that failed apart, and where else it failed, is told with them', async ({ owner, stage }, info) => {
  // Six tills that a test speaks for; two of them run a proxy too.
  const tills = ['till-1', 'till-2', 'till-3', 'till-4', 'till-5', 'till-6'];
  const proxies = tills.slice(0, 2);
  const credentials = new Map<string, string>();
  for (const till of tills) credentials.set(till, await stage.silentNode(till));
  const assign = (stack: string, nodes: string) => `[[assign]]\nstack = "${stack}"\nnodes = "${nodes}"\n`;
  // Nobody is heard from but by what is reported: that shall stop nothing.
  const rules = '[[rollout.stop]]\nwhen = "failed > 0"\n';
  const fleet = [rules, assign('page', 'role=web'), ...tills.map((till) => assign('shop', `name=${till}`)), ...proxies.map((till) => assign('proxy', `name=${till}`))];
  const compose = (image: string) => `services:\n  main:\n    image: ${image}\n`;
  const [shop, proxy] = ['stacks/shop/compose.yaml', 'stacks/proxy/compose.yaml'];

  /** All nodes begin what is planned of a stack, and then end it. */
  const play = async (stack: string, nodes: string[], fails: (node: string) => boolean) => {
    const planned = await eventually(`${stack} planned`, async () => {
      const { items } = await stage.get<{ items: { id: string; node_name: string; state: { state: string } }[] }>(`/api/v1/deployments?stack=${stack}`);
      const open = items.filter((one) => one.state.state === 'pending');
      return open.length === nodes.length ? open : undefined;
    });
    const says = (node: string, what: object) => stage.reports(credentials.get(node) ?? '', { ...what });
    for (const one of planned) await says(one.node_name, { report: 'deployment_started', deployment: one.id, previous: null });
    for (const one of planned) {
      const failed = { state: 'rolled_back', step: 'probe', failure: 'unhealthy', reason: `${one.node_name}: no way to 10.0.0.1` };
      const state = fails(one.node_name) ? failed : { state: 'succeeded' };
      await says(one.node_name, { report: 'deployment_finished', deployment: one.id, state, containers: [] });
    }
  };
  stage.files('Open the shop', { 'fleet.toml': fleet.join(''), [shop]: compose('shop:1'), [proxy]: compose('proxy:1') });
  await play('shop', tills, () => false);
  await play('proxy', proxies, () => false);
  stage.files('Renew the proxy', { [proxy]: compose('proxy:2') });
  await play('proxy', proxies, (node) => node === 'till-2');
  stage.files('Renew the shop', { [shop]: compose('shop:2') });
  await play('shop', tills, (node) => proxies.includes(node));

  const halted = await eventually('the rollout of the shop halted', async () => {
    const { items } = await stage.get<{ items: (Rollout & { pattern?: { open: number; failed: number } })[] }>('/api/v1/rollouts?state=halted&stack=shop');
    return items.find((one) => one.pattern?.open === 0 && one.pattern.failed === 2);
  });
  await open(owner, `/rollouts/${halted.id}`);
  const main = owner.getByRole('main');
  await expect(main.getByText('2 nodes failed, 4 succeeded')).toBeVisible();
  const error = main.getByRole('listitem').filter({ hasText: 'the same way, at probe' });
  await expect(error).toContainText('no way to 10.0.0.1');
  await expect(error.getByRole('link', { name: 'till-1' })).toBeVisible();
  const elsewhere = main.getByRole('list', { name: 'The same failure in other stacks' });
  await expect(elsewhere).toContainText('Stack proxy failed in that way too, on 1 node: till-2');
  await expect(elsewhere.getByRole('link', { name: 'proxy' })).toHaveAttribute('href', '#/stacks/proxy');
  const apart = main.getByRole('row').filter({ hasText: 'also runs stack' });
  await expect(apart).toContainText('proxy');
  await expect(apart).toContainText('2 of 2');
  await expect(apart).toContainText('0 of 4');
  await expect(apart).toContainText('6.7 %');
  await picture(owner, 'rollout-pattern', info);
  for (const [size, viewport] of Object.entries({ laptop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } })) {
    await owner.setViewportSize(viewport);
    expect(await owner.evaluate(() => document.documentElement.scrollWidth - window.innerWidth), size).toBeLessThanOrEqual(0);
  }
  expect(await findings(owner)).toEqual([]);

  for (const till of tills) await stage.call('POST', `/api/v1/nodes/${till}/revoke`);
  stage.files('Close the shop', { 'fleet.toml': null, [shop]: null, [proxy]: null });
  await stage.liftBans();
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
