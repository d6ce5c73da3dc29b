// Not tests, but pictures for the README, made of the demonstration: `scripts/pictures`.
import tests from '../tests/playwright.config';

export default {
  ...tests,
  testDir: '.',
  workers: 1,
  reporter: 'line' as const,
  use: { ...tests.use, trace: 'off' as const, screenshot: 'off' as const },
};
