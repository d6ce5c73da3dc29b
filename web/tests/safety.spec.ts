// Nodes out of the ordinary, on a laptop and on a phone: safe mode, drift, nodes that are left alone.
import { expect, open, picture, test } from './test';
import { agree } from './views';

for (const [name, viewport] of Object.entries({ laptop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } })) {
  test.describe(name, () => {
    test.use({ viewport });

    test('a node in safe mode needs a person, says why, and is let out', async ({ owner, stage }, info) => {
      const node = `hurt-${name}`;
      const credential = await stage.silentNode(node);
      const since = new Date(Date.now() - 300_000).toISOString();
      const safe_mode = { id: '01987654-3210-7abc-8def-0123456789ab', since, stacks: [{ stack: 'page', reason: 'it fell over three times', stopped: true }], minimal_stack: true };
      const drift = [{ part: 'file', name: 'page.conf', detail: 'another SHA-256 than the release has', since, heals: 2, state: 'escalated' }];
      const page = { stack: 'page', current: null, previous: null, deployment: null, health: 'down', detail: 'stopped', can_return: false, containers: [], drift };
      await stage.says(credential, { safety: { safe_mode, waiting: [{ stack: 'page', reason: 'it is in safe mode' }], ssh: 'silent' }, observed: [page] });

      await open(owner, '/');
      const needs = owner.getByRole('region', { name: 'What needs a person' });
      const one = needs.getByRole('listitem').filter({ hasText: `${node} is in safe mode` });
      await expect(one).toContainText('it fell over three times');
      await expect(needs.getByRole('listitem').filter({ hasText: `page on ${node} drifts` })).toBeVisible();
      await one.getByRole('link', { name: 'To the node' }).click();

      const safe = owner.getByRole('region', { name: 'Safe mode' });
      await expect(safe).toContainText('page, stopped: it fell over three times');
      await expect(safe).toContainText('Nothing forward is tried until an operator says so');
      await expect(owner.getByRole('main')).toContainText('Its SSH server does not listen');
      await expect(owner.getByRole('region', { name: 'Updates that wait' })).toContainText('it is in safe mode');
      await expect(owner.getByRole('region', { name: 'Stack page' })).toContainText('needs a person');
      await picture(owner, `safe-mode-${name}`, info);
      await safe.getByRole('button', { name: 'Leave safe mode' }).click();
      await agree(owner, 'Leave safe mode', 'the disk is mended');
      await open(owner, '/timeline?span=1h&as=list');
      await expect.poll(async () => JSON.stringify(await stage.get('/api/v1/timeline?limit=20'))).toContain('the disk is mended');

      await open(owner, '/nodes?only=safe_mode');
      const rows = owner.getByRole('grid', { name: 'Nodes' }).getByRole('row').filter({ hasText: /-/ });
      await expect(rows).toHaveCount(1);
      await expect(rows).toContainText(node);
      await expect(rows).toContainText('safe mode');
      await expect(rows).toContainText('drift');
      await picture(owner, `marks-${name}`, info);

      await stage.says(credential, { safety: { safe_mode: null, waiting: [], ssh: 'listening' }, observed: [] });
      await open(owner, `/nodes/${node}`);
      await expect(safe).toHaveCount(0);
      await stage.call('POST', `/api/v1/nodes/${node}/revoke`);
    });

    test('all drift of the fleet is listed, what needs a person first, strays too', async ({ owner, stage }, info) => {
      const since = new Date(Date.now() - 300_000).toISOString();
      const one = (part: string, what: string, heals: number, state: string) => ({ part, name: what, detail: 'told by a test', since, heals, state });
      const observed = (stack: string, drift: object[]) => [{ stack, current: null, previous: null, deployment: null, health: 'degraded', detail: '', can_return: false, containers: [], drift }];
      const [stray, bad] = [`stray-${name}`, `bad-${name}`];
      const [first, second] = [await stage.silentNode(stray), await stage.silentNode(bad)];
      await stage.says(first, { observed: observed('page', [one('stray', 'left-by-someone', 0, 'left'), one('container', 'web', 1, 'healing')]) });
      await stage.says(second, { observed: observed('other', [one('image', 'web', 3, 'escalated')]) });

      await open(owner, '/nodes');
      await owner.getByRole('main').getByRole('link', { name: 'Drift', exact: true }).click();
      const list = owner.getByRole('list', { name: 'Drift' });
      const places = list.locator(':scope > li');
      const mine = places.filter({ hasText: new RegExp(`${stray}|${bad}`) });
      await expect(mine).toHaveCount(2);
      await expect(mine.first()).toContainText(bad);
      await expect(mine.first()).toContainText('needs a person');
      await expect(mine.first()).toContainText('image of web');
      await expect(mine.last()).toContainText('stray file left-by-someone');
      await expect(mine.last()).toContainText('put right 1 times');
      await picture(owner, `drift-${name}`, info);
      await owner.getByLabel('Only in this state').selectOption('left');
      await expect(places.filter({ hasText: bad })).toHaveCount(0);
      await expect(places.filter({ hasText: stray })).toContainText('left-by-someone');
      await expect(places.filter({ hasText: stray })).not.toContainText('container web');
      await owner.getByLabel('Only of this stack').selectOption('other');
      await expect(list).toContainText('None of this kind.');
      await owner.getByRole('button', { name: 'Clear' }).click();
      await places.filter({ hasText: bad }).getByRole('link', { name: bad }).click();
      await expect(owner.getByRole('heading', { name: bad })).toBeVisible();

      // Put right, it leaves the list while somebody looks at it.
      await open(owner, '/drift');
      await expect(places.filter({ hasText: bad })).toHaveCount(1);
      await stage.says(second, { observed: observed('other', []) });
      await expect(places.filter({ hasText: bad })).toHaveCount(0, { timeout: 20_000 });
      for (const node of [stray, bad]) await stage.call('POST', `/api/v1/nodes/${node}/revoke`);
    });

    test('nodes that are left alone or pinned are found in the table', async ({ owner, stage }) => {
      const limits = [
        { effect: 'maintenance', nodes: 'name=web-3', reason: `a new fan on a ${name}` },
        { effect: 'pin', stack: 'page', nodes: 'name=web-1', reason: `a trial on a ${name}` },
      ];
      const set = await Promise.all(limits.map((one) => stage.call<{ id: string }>('POST', '/api/v1/constraints', one)));
      await open(owner, '/nodes');
      const rows = owner.getByRole('grid', { name: 'Nodes' }).getByRole('row');
      await expect(rows.filter({ hasText: 'web-3' })).toContainText('maintenance');
      await expect(rows.filter({ hasText: 'web-1' })).toContainText('pinned');
      if (name === 'phone') await owner.getByText('Filter and sort').click();
      await owner.getByLabel('Only of which this is so').selectOption('maintenance');
      await expect(rows.filter({ hasText: 'web-3' })).toHaveCount(1);
      await expect(rows.filter({ hasText: 'web-1' })).toHaveCount(0);
      for (const { id } of set) await stage.call('POST', `/api/v1/constraints/${id}/lift`, { reason: 'done' });
      await expect(owner.getByText('No node fits.')).toBeVisible();
    });
  });
}
