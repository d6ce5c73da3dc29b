// Environments, on a laptop and on a phone: which release is where, and the next let in by a person.
import { expect, open, picture, test } from './test';
import { agree } from './views';

interface Environments { environments: { name: string; stacks: { stack: string; ready: boolean; release?: { commit: string } | null; next?: { commit: string } | null }[] }[] }

for (const [name, viewport] of Object.entries({ laptop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } })) {
  test.describe(name, () => {
    test.use({ viewport });

    test('a release waits before production until a person lets it in', async ({ owner, stage }, info) => {
      stage.strategy('[[environment]]\nname = "dev"\nnodes = "name=web-1"\n\n[[environment]]\nname = "prod"\nnodes = "name in (web-2,web-3)"\nafter = ["dev"]\npromotion = "by hand"\n');
      const dev = async () => (await stage.get<Environments>('/api/v1/environments')).environments.find((one) => one.name === 'dev')?.stacks[0]?.release?.commit;
      await expect.poll(dev, { timeout: 20_000 }).toBeDefined();
      const before = await dev();
      stage.commit('columns', name === 'phone' ? '9' : '10', `Use columns for production, on a ${name}`);
      const prod = async () => (await stage.get<Environments>('/api/v1/environments')).environments.find((one) => one.name === 'prod')?.stacks[0];
      const waits = async () => {
        const found = await prod();
        return found?.ready === true && found.next !== undefined && found.next?.commit !== before;
      };
      await expect.poll(waits, { timeout: 40_000 }).toBe(true);
      const next = (await prod())?.next?.commit ?? '';
      await open(owner, '/rollouts');
      const environments = owner.getByRole('region', { name: 'Environments' });
      await expect(environments.getByRole('group', { name: 'page in dev' })).toContainText(next.slice(0, 8));
      const there = environments.getByRole('group', { name: 'page in prod' });
      await expect(there).toContainText(`Next: ${next.slice(0, 8)}`);
      await picture(owner, `environments-${name}`, info);
      const over = await owner.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      expect(over).toBeLessThanOrEqual(0);
      await there.getByRole('button', { name: 'Promote' }).click();
      await agree(owner, 'Let it in', `a quiet day on a ${name}`);
      await expect(there).not.toContainText('Next:', { timeout: 20_000 });
      await expect(there).toContainText('2 of 2 nodes', { timeout: 20_000 });
      expect((await prod())?.release?.commit).toBe(next);
      await open(owner, '/stacks/page');
      await expect(owner.getByRole('region', { name: 'Environments' }).getByRole('group', { name: 'page in prod' })).toContainText(next.slice(0, 8));
      stage.strategy('');
    });
  });
}
