// Agents on the nodes and updates of them, and what the hub thinks of the whole fleet; on a laptop and on a phone.

import { expect, findings, open, picture, test } from './test';
import { agree } from './views';

/** As much of a program for x86-64 as the hub looks at. */
function program(version: string): Buffer {
  const bytes = Buffer.alloc(4096);
  bytes.write('\x7fELF\x02\x01\x01', 'latin1');
  bytes.writeUInt16LE(2, 16);
  bytes.writeUInt16LE(62, 18);
  bytes.write(version, 64);
  return bytes;
}

for (const [name, viewport] of Object.entries({ laptop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } })) {
  test.describe(name, () => {
    test.use({ viewport, contextOptions: { reducedMotion: 'reduce' } });

    test('an agent is uploaded, goes out, says where it is not, and is stopped', async ({ owner, as, stage }, info) => {
      const version = `9.9.${name === 'laptop' ? 1 : 2}`;
      await open(owner, '/nodes');
      await owner.getByRole('main').getByRole('link', { name: 'Agents' }).click();
      const main = owner.getByRole('main');
      await expect(owner.getByRole('region', { name: 'What runs' })).toContainText(/\d nodes/);
      await main.getByRole('button', { name: /Bring another version/ }).click();
      const dialog = owner.getByRole('dialog');
      if (name === 'phone') await dialog.getByLabel(/^Version/).selectOption({ label: 'from a file…' });
      await dialog.getByLabel(/^Programs/).setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello, this is no program') });
      await dialog.getByLabel(/^Their version/).fill(version);
      await dialog.getByRole('button', { name: 'Begin' }).click();
      await expect(dialog.getByRole('alert')).toContainText('notes.txt is no Linux program');
      await dialog.getByLabel(/^Programs/).setInputFiles({ name: 'backstay-agent', mimeType: 'application/octet-stream', buffer: program(version) });
      await dialog.getByLabel(/^Waves/).fill('50, 20, 100');
      await expect(dialog).toContainText('each more than the one before');
      await expect(dialog.getByRole('button', { name: 'Begin' })).toBeDisabled();
      await dialog.getByLabel(/^Waves/).fill(name === 'phone' ? '100' : '34, 100');
      expect(await findings(owner)).toEqual([]);
      await picture(owner, `agents-bring-${name}`, info);
      await dialog.getByRole('button', { name: 'Begin' }).click();
      await expect(dialog).toHaveCount(0);

      const update = owner.getByRole('region', { name: 'Newest update' });
      await expect(update).toContainText(`${version} goes out`);
      // The demonstration's agents have no loader to update themselves by: others answer.
      const tight = await stage.silentNode(`tight-${name}`);
      const { update: asked } = await stage.get<{ update: { id: string } }>('/api/v1/agents');
      const answer = (outcome: string, reason: string) => ({ report: 'agent_update', update: asked.id, version, outcome, reason });
      await stage.reports(tight, answer('left', 'there are 3 MB free in /var/lib/backstay, and 40 MB are needed'));
      const row = update.getByRole('row').filter({ hasText: `tight-${name}` });
      await expect(row).toContainText('not tried');
      await expect(row).toContainText('40 MB are needed');
      await expect(owner.getByRole('region', { name: 'Here to be brought' })).toContainText(version);
      await expect(main.getByRole('button', { name: /Bring another version/ })).toBeDisabled();
      await picture(owner, `agents-${name}`, info);
      expect(await findings(owner)).toEqual([]);
      const viewer = await as('viewer');
      await open(viewer, '/agents');
      await expect(viewer.getByRole('button', { name: /Stop it/ })).toBeDisabled();

      await open(owner, '/');
      await owner.getByRole('main').getByRole('link', { name: new RegExp(`Agent ${version} goes out`) }).click();
      if (name === 'laptop') {
        await update.getByRole('button', { name: 'Stop it' }).click();
        await agree(owner, 'Stop it', 'a better one is on its way');
        await expect(update).toContainText('a better one is on its way');
      } else {
        const weak = await stage.silentNode('weak');
        await stage.reports(weak, answer('failed', 'it was started three times and never came to be answered'));
        await expect(update.getByRole('row').filter({ hasText: 'weak' })).toContainText('✕ failed');
        await expect(update, 'by itself').toContainText('1 failed');
      }
      await expect(update).toContainText('was stopped', { timeout: 20_000 });
      await picture(owner, `agents-stopped-${name}`, info);
      for (const node of [`tight-${name}`, ...(name === 'phone' ? ['weak'] : [])]) await stage.call('POST', `/api/v1/nodes/${node}/revoke`);
      expect(await owner.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)).toBeLessThanOrEqual(0);
    });
  });
}

test('a fleet that is not well is said on the overview and over the rollouts, with what follows', async ({ owner, stage }, info) => {
  test.setTimeout(120_000);
  // Three of six: fewer are never the fleet's.
  stage.strategy('[rollout.fleet]\nwithin = "5m"\nmin_nodes = 3\nwarn = "5%"\nhalt = "10%"\nstop = "90%"\n');
  const observed = (health: string) => [{ stack: 'page', current: null, previous: null, deployment: null, health, detail: '', can_return: false, containers: [], drift: [] }];
  const names = ['frail-1', 'frail-2', 'frail-3'];
  const credentials = await Promise.all(names.map((name) => stage.silentNode(name)));
  for (const credential of credentials) await stage.says(credential, { observed: observed('healthy') });
  await open(owner, '/');
  const verdict = owner.getByRole('region', { name: 'The whole fleet' });
  await expect(verdict).toHaveCount(0);
  for (const credential of credentials) await stage.says(credential, { observed: observed('down') });
  await expect(verdict).toContainText('The fleet is not well: rollouts are paused', { timeout: 60_000 });
  await expect(verdict).toContainText(/3 of \d+ nodes turned unhealthy/);
  await picture(owner, 'fleet-not-well', info);
  expect(await findings(owner)).toEqual([]);
  await open(owner, '/rollouts');
  await expect(verdict).toContainText('let each rollout go on');
  await owner.setViewportSize({ width: 390, height: 844 });
  await picture(owner, 'fleet-not-well-phone', info);
  expect(await owner.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)).toBeLessThanOrEqual(0);

  for (const name of names) await stage.call('POST', `/api/v1/nodes/${name}/revoke`);
  stage.strategy('');
  await expect(verdict, 'well again').toHaveCount(0, { timeout: 60_000 });
});
