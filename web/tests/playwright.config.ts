// The page's tests: real Chromium, the real hub, real agents. `scripts/page-test` gives them what they need.
import { existsSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';

import { defineConfig } from '@playwright/test';

/** Where pictures and traces of a run are left. */
const out = process.env.BACKSTAY_PAGE_OUT ?? join(tmpdir(), 'backstay-page');
const chromium = [process.env.BACKSTAY_CHROMIUM, '/usr/bin/chromium'].find((path) => path && existsSync(path));

export default defineConfig({
  testDir: '.',
  outputDir: join(out, 'results'),
  // Each worker has a hub and three agents of its own; what a file changes stays in its worker.
  workers: availableParallelism() >= 4 ? 3 : 2,
  fullyParallel: false,
  forbidOnly: process.env.CI === 'true',
  timeout: 60_000,
  expect: { timeout: 10_000 },
  reporter: [['list'], ['json', { outputFile: join(out, 'report.json') }]],
  use: {
    launchOptions: {
      ...(chromium ? { executablePath: chromium } : {}),
      // Chromium has no sandbox for root.
      args: [...(process.getuid?.() === 0 ? ['--no-sandbox'] : []), '--force-color-profile=srgb'],
    },
    viewport: { width: 1440, height: 900 },
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    actionTimeout: 10_000,
    navigationTimeout: 15_000,
    trace: 'retain-on-failure',
    screenshot: 'only-on-failure',
  },
});
