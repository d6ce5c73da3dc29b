import { expect, findings, open, picture, test } from './test';
import { addresses, NAMES } from './views';

// None changes anything: any worker may have any of them.
test.describe.configure({ mode: 'parallel' });
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

test('the timeline keeps its colours where motion is not wanted', async ({ owner, stage }) => {
  await open(owner, (await addresses(stage)).timeline);
  // Conversations and commits are violet, deployments green; one colour for all would be neither.
  const violet = () =>
    owner.locator('canvas').first().evaluate((canvas: HTMLCanvasElement) => {
      const { data } = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height) ?? { data: [] };
      let count = 0;
      for (let at = 0; at < data.length; at += 4) {
        const [red = 0, green = 0, blue = 0] = [data[at], data[at + 1], data[at + 2]];
        if (red > green + 25 && blue > red + 25) count += 1;
      }
      return count;
    });
  await expect.poll(violet).toBeGreaterThan(50);
});

test('an address where nothing is says so', async ({ owner }) => {
  await owner.goto('/#/no-such-view');
  await expect(owner.getByRole('heading', { level: 1 })).toContainText(/nothing|not found/i);
  await owner.getByRole('main').getByRole('link', { name: /overview/i }).click();
  await expect(owner.getByRole('heading', { level: 1, name: /overview/i })).toBeVisible();
});
