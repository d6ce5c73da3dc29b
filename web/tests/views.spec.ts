import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';

import { expect, open, picture, test } from './test';
import { addresses, NAMES } from './views';

test.use({ contextOptions: { reducedMotion: 'reduce', colorScheme: 'light' } });

for (const name of NAMES) {
  test(`${name}: no error, no serious finding, on laptop and phone, light and dark`, async ({ owner, stage }, info) => {
    await open(owner, (await addresses(stage))[name]);
    await expect(owner).toHaveTitle(/Backstay/);
    await picture(owner, `${name}-laptop`, info);
    expect(await findings(owner), 'findings in light').toEqual([]);

    await owner.emulateMedia({ colorScheme: 'dark' });
    await picture(owner, `${name}-laptop-dark`, info);
    expect(await findings(owner), 'findings in dark').toEqual([]);

    await owner.emulateMedia({ colorScheme: 'light' });
    await owner.setViewportSize({ width: 390, height: 844 });
    await open(owner, (await addresses(stage))[name]);
    await picture(owner, `${name}-phone`, info);
    expect(await findings(owner), 'findings on a phone').toEqual([]);

    await owner.setViewportSize({ width: 360, height: 740 });
    const over = await owner.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(over, 'pixels beyond the edge of a small phone').toBeLessThanOrEqual(0);
  });
}

test("an undo's dialog has no serious finding, light and dark", async ({ owner, stage }) => {
  await open(owner, (await addresses(stage)).undos);
  await owner.getByRole('button', { name: /undo the last/i }).click();
  await expect(owner.getByRole('dialog').getByLabel(/why|reason/i)).toBeVisible();
  expect(await findings(owner)).toEqual([]);
  await owner.emulateMedia({ colorScheme: 'dark' });
  expect(await findings(owner)).toEqual([]);
});

test('an address where nothing is says so', async ({ owner }) => {
  await owner.goto('/#/no-such-view');
  await expect(owner.getByRole('heading', { level: 1 })).toContainText(/nothing|not found/i);
  await owner.getByRole('main').getByRole('link', { name: /overview/i }).click();
  await expect(owner.getByRole('heading', { level: 1, name: /overview/i })).toBeVisible();
});

/** What the accessibility check calls serious or critical. */
async function findings(page: Page): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const grave = violations.filter((one) => one.impact === 'serious' || one.impact === 'critical');
  return grave.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html} (${node.failureSummary ?? ''})`));
}
