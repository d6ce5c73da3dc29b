// Limits by hand, on a laptop and on a phone: seen, set, counted down, lifted.
import { readFileSync } from 'node:fs';

import { expect, open, picture, settled, test } from './test';
import { agree } from './views';

interface Limit { effect: string; reason: string; until?: string | null; scope: { scope: string; selector?: string } }

for (const [name, viewport] of Object.entries({ laptop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } })) {
  test.describe(name, () => {
    test.use({ viewport });

    test('a freeze is set for some nodes, counts down, and is lifted', async ({ owner, stage }, info) => {
      const set = async () => (await stage.get<{ items: Limit[] }>('/api/v1/constraints')).items.find((one) => one.reason === `the fair on a ${name}`);
      await open(owner, '/limits');
      await owner.getByRole('button', { name: 'Set a limit' }).click();
      const dialog = owner.getByRole('dialog', { name: 'Set a limit' });
      const reached = dialog.getByRole('status');
      await expect(reached).toContainText(/It reaches \d+ nodes\./);
      await dialog.getByLabel('Nodes').fill('name in (web-1,web-2)');
      await expect(reached).toContainText('It reaches 2 nodes: web-1, web-2.');
      await dialog.getByLabel('Nodes').fill('name=nobody');
      await expect(reached).toContainText('It reaches no node.');
      await dialog.getByLabel('Nodes').fill('name in (web-1,web-2)');
      await dialog.getByLabel('Ends').selectOption('in 1 hour');
      await dialog.getByLabel('Why').fill(`the fair on a ${name}`);
      await picture(owner, `limits-set-${name}`, info);
      await dialog.getByRole('button', { name: 'Set it' }).click();
      await expect(dialog).toHaveCount(0);

      const one = owner.getByRole('listitem').filter({ hasText: `the fair on a ${name}` });
      await expect(one).toContainText('Freeze');
      await expect(one).toContainText('(2 nodes)');
      await expect(one).toContainText(/ends in (1 h|59 min)/);
      await expect(one).toContainText('by hand');
      await picture(owner, `limits-${name}`, info);
      const found = await set();
      expect(found?.effect).toBe('freeze');
      expect(Math.abs(Date.parse(found?.until ?? '') - Date.now() - 3_600_000)).toBeLessThan(60_000);

      await one.getByRole('button', { name: 'Lift' }).click();
      await agree(owner, 'Lift it', 'it is over');
      await expect(one).toHaveCount(0);
      expect(await set()).toBeUndefined();
    });

    test('a limit that begins later stands apart', async ({ owner, stage }) => {
      const from = new Date(Date.now() + 26 * 3_600_000).toISOString();
      const { id } = await stage.call<{ id: string }>('POST', '/api/v1/constraints', { effect: 'freeze', stack: 'page', from, reason: `the audit on a ${name}` });
      await open(owner, '/limits');
      const later = owner.getByRole('region', { name: 'To begin' });
      await expect(later).toContainText(`the audit on a ${name}`);
      await expect(later).toContainText(/begins in 1 d [12] h/);
      await expect(owner.getByRole('region', { name: 'In force' })).not.toContainText(`the audit on a ${name}`);
      await stage.call('POST', `/api/v1/constraints/${id}/lift`, { reason: 'moved' });
      await expect(owner.getByText(`the audit on a ${name}`)).toHaveCount(0);
    });

    test('what runs out while one looks goes by itself', async ({ owner, stage }) => {
      const until = new Date(Date.now() + 8000).toISOString();
      await stage.call('POST', '/api/v1/constraints', { effect: 'freeze', until, reason: `a breath on a ${name}` });
      await open(owner, '/limits');
      await expect(owner.getByText(`a breath on a ${name}`)).toBeVisible();
      await expect(owner.getByText(`a breath on a ${name}`)).toHaveCount(0, { timeout: 20_000 });
    });

    test('a node is left alone from its own view, and its stack is pinned from the stack', async ({ owner }, info) => {
      await open(owner, '/nodes/web-3');
      await owner.getByRole('button', { name: 'Set a limit' }).click();
      let dialog = owner.getByRole('dialog', { name: 'Set a limit' });
      await dialog.getByRole('radio', { name: 'Maintenance' }).check();
      await expect(dialog.getByLabel('Nodes')).toHaveValue('name=web-3');
      await dialog.getByLabel('Why').fill(`a new disk on a ${name}`);
      await dialog.getByRole('button', { name: 'Set it' }).click();
      const mine = owner.getByRole('listitem').filter({ hasText: `a new disk on a ${name}` });
      await expect(mine).toContainText('Maintenance');
      await picture(owner, `limits-node-${name}`, info);
      await open(owner, '/nodes/web-2');
      await expect(owner.getByText(`a new disk on a ${name}`)).toHaveCount(0);
      await open(owner, '/nodes/web-3');
      await mine.getByRole('button', { name: 'Lift' }).click();
      await agree(owner, 'Lift it', 'it is in');
      await expect(mine).toHaveCount(0);

      await open(owner, '/stacks/page');
      await owner.getByRole('button', { name: 'Set a limit' }).click();
      dialog = owner.getByRole('dialog', { name: 'Set a limit' });
      await dialog.getByRole('radio', { name: 'Pin' }).check();
      await expect(dialog.getByLabel('Stack')).toHaveValue('page');
      await dialog.getByLabel('Nodes').fill('name=web-1');
      await dialog.getByLabel('Why').fill(`a trial on a ${name}`);
      await dialog.getByRole('button', { name: 'Set it' }).click();
      await settled(owner);
      const pin = owner.getByRole('listitem').filter({ hasText: `a trial on a ${name}` });
      await expect(pin).toContainText('page stays on one release');
      await pin.getByRole('button', { name: 'Lift' }).click();
      await agree(owner, 'Lift it', 'tried');
      await expect(pin).toHaveCount(0);
    });

    test('a node follows another branch, and comes back when that is lifted', async ({ owner, stage }, info) => {
      const branch = `try/${name}`;
      const commit = stage.branch(branch, 'colour', name === 'phone' ? 'plum' : 'olive');
      const runs = async () => {
        const node = await stage.get<{ desired: { commit: string }[]; observed: { current: string }[] }>('/api/v1/nodes/web-2');
        return node.desired[0]?.commit;
      };
      await open(owner, '/nodes/web-2');
      await owner.getByRole('button', { name: 'Set a limit' }).click();
      const dialog = owner.getByRole('dialog', { name: 'Set a limit' });
      await dialog.getByRole('radio', { name: 'Branch' }).check();
      await expect(dialog.getByLabel('Nodes')).toHaveValue('name=web-2');
      await dialog.getByLabel('Stack', { exact: true }).selectOption('page');
      await dialog.getByLabel('Why').fill(`a try on a ${name}`);
      await dialog.getByLabel(/^Branch/).last().fill(branch);
      await picture(owner, `limits-branch-set-${name}`, info);
      await dialog.getByRole('button', { name: 'Set it' }).click();
      await expect(dialog).toHaveCount(0, { timeout: 20_000 });
      const one = owner.getByRole('listitem').filter({ hasText: `a try on a ${name}` });
      await expect(one).toContainText(`page runs what branch ${branch} has`);
      await expect(owner.getByRole('main')).toContainText(`follows branch \`${branch}\``, { timeout: 20_000 });
      await expect.poll(runs, { timeout: 30_000 }).toBe(commit);
      await open(owner, '/limits?kind=follow');
      const branches = owner.getByRole('region', { name: 'Branches that nodes follow' });
      await expect(branches.getByRole('listitem').filter({ hasText: branch })).toContainText('on 1 node');
      await picture(owner, `limits-branch-${name}`, info);
      await owner.getByRole('listitem').filter({ hasText: `a try on a ${name}` }).getByRole('button', { name: 'Lift' }).click();
      await agree(owner, 'Lift it', 'it was tried');
      await expect(branches).toHaveCount(0);
      await expect.poll(runs, { timeout: 30_000 }).not.toBe(commit);
    });

    test('a freeze stands on the overview, and all that is known of nodes comes as a file', async ({ owner, stage }) => {
      const { id } = await stage.call<{ id: string }>('POST', '/api/v1/constraints', { effect: 'freeze', stack: 'page', reason: `a quiet week on a ${name}` });
      await open(owner, '/');
      const said = owner.getByText(`Frozen for page`).filter({ hasText: `a quiet week on a ${name}` });
      await expect(said).toBeVisible();
      await stage.call('POST', `/api/v1/constraints/${id}/lift`, { reason: 'it is over' });
      await expect(said).toHaveCount(0, { timeout: 10_000 });

      await open(owner, '/nodes?selector=name%3Dweb-1');
      const group = owner.getByRole('group', { name: /Download the inventory of name=web-1/ });
      for (const format of ['CSV', 'JSON']) {
        const [file] = await Promise.all([owner.waitForEvent('download'), group.getByRole('button', { name: format }).click()]);
        expect(file.suggestedFilename()).toBe(`inventory.${format.toLowerCase()}`);
        const text = readFileSync(await file.path(), 'utf8');
        expect(text).toContain('web-1');
        expect(text).not.toContain('web-2');
        if (format === 'CSV') expect(text.split('\r\n')[0]).toMatch(/^name,id,state,labels,.*,pending$/);
        else expect((JSON.parse(text) as { name: string }[]).map((one) => one.name)).toEqual(['web-1']);
      }
    });

    test('what the hub refuses is said where it was asked', async ({ owner, troubles }) => {
      await open(owner, '/limits');
      await owner.getByRole('button', { name: 'Set a limit' }).click();
      const dialog = owner.getByRole('dialog', { name: 'Set a limit' });
      await dialog.getByLabel('Nodes').fill('role in (');
      await expect(dialog.getByRole('status')).toContainText('cannot read the selector');
      await dialog.getByLabel('Why').fill('a try');
      await dialog.getByRole('button', { name: 'Set it' }).click();
      await expect(dialog.getByRole('alert')).toContainText('cannot read the selector');
      await owner.keyboard.press('Escape');
      await expect(dialog).toHaveCount(0);
      expect(troubles.length, 'what was refused is noted').toBeGreaterThan(0);
      troubles.length = 0;
    });
  });
}

test('windows and freezes of fleet.toml are shown, and lifted there alone', async ({ owner, stage }, info) => {
  stage.strategy('[[window]]\nnodes = "name=web-1"\nopens = "0 2 1 1 *"\nfor = "1h"\n\n[[window]]\nopens = "0 0 * * *"\nfor = "24h"\n\n[[freeze]]\nreason = "the end of the year"\nnodes = "name=web-2"\n');
  await open(owner, '/limits');
  const windows = owner.getByRole('region', { name: 'Windows' });
  await expect(windows.getByRole('listitem').filter({ hasText: 'name=web-1 (1 node)' })).toContainText(/opens in \d+ d/, { timeout: 20_000 });
  await expect(windows.getByRole('listitem').filter({ hasText: 'every node' })).toContainText('Open');
  const freeze = owner.getByRole('listitem').filter({ hasText: 'the end of the year' });
  await expect(freeze).toContainText('from fleet.toml');
  await expect(freeze.getByRole('button', { name: /^Lift/ })).toBeDisabled();
  await picture(owner, 'limits-windows', info);
  await open(owner, '/nodes/web-1');
  await expect(owner.getByRole('region', { name: 'Limits' })).toContainText('Closed');
  await open(owner, '/nodes/web-3');
  await expect(owner.getByRole('region', { name: 'Limits' })).not.toContainText('name=web-1');
  stage.strategy('');
  await open(owner, '/limits');
  await expect(owner.getByText('the end of the year')).toHaveCount(0, { timeout: 20_000 });
});
