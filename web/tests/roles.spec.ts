import { expect, open, test } from './test';
import { addresses } from './views';

test('a viewer is offered nothing that changes what runs', async ({ as, stage }) => {
  const page = await as('viewer');
  const offered: string[] = [];
  for (const [name, address] of Object.entries(await addresses(stage))) {
    await open(page, address);
    const buttons = page.getByRole('main').getByRole('button', { name: /\b(undo|return|hold|revoke|accept|sync|disable|add|make|stop|pause|go on|abort|override|open the next|lift|set)\b/i, disabled: false });
    offered.push(...(await buttons.allInnerTexts()).map((text) => `${name}: ${text}`));
  }
  expect(offered).toEqual([]);
});

test('a viewer who asks anyway is refused by the API', async ({ as, stage }) => {
  const page = await as('viewer');
  await open(page, '/');
  const { id } = await stage.converse('greeting', 'Hello there');
  const before = stage.upstream();
  const undo = { selector: { select: 'conversation', conversation: id, meaning: 'only_its' }, scope: { nodes: null, stack: null }, reason: '', include_guesses: [] };
  const asked = [
    ['/api/v1/undos', undo],
    ['/api/v1/holds', { what: { hold: 'conversation', conversation: id }, reason: 'no' }],
    ['/api/v1/tokens', { name: 'mine', kind: { kind: 'api', role: 'admin' } }],
    ['/api/v1/users', { name: 'mallory', role: 'admin' }],
  ] as const;
  for (const [path, body] of asked) {
    const status = await page.request.post(new URL(path, stage.url).href, { data: body, headers: { origin: stage.url } });
    expect(status.status(), path).toBe(403);
  }
  expect(stage.upstream()).toBe(before);
});

test('an operator undoes, and makes no users', async ({ as, stage }) => {
  const page = await as('operator');
  const { id } = await stage.converse('greeting', 'Good evening');
  await open(page, `/conversations/${id}`);
  await expect(page.getByRole('button', { name: /^undo this/i })).toBeEnabled();
  const status = await page.request.post(`${stage.url}/api/v1/users`, { data: { name: 'eve', role: 'admin' }, headers: { origin: stage.url } });
  expect(status.status()).toBe(403);
});
