// `test` with a stage for each worker, pages that are signed in, and no error in the console that goes unseen.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import AxeBuilder from '@axe-core/playwright';
import { type Browser, type BrowserContext, expect, type Page, test as base, type TestInfo } from '@playwright/test';

import { Stage } from './stage';

type Role = 'owner' | 'viewer' | 'operator' | 'admin';
type Storage = Awaited<ReturnType<BrowserContext['storageState']>>;

interface Fixtures {
  /** A page signed in as who owns the machine. */
  owner: Page;
  /** Opens a page signed in as someone of this role. */
  as: (role: Role) => Promise<Page>;
  /** What went wrong in pages of this test: errors in the console, failed requests. Must be empty at the end unless taken away. */
  troubles: string[];
}

interface Shared {
  /** Whether the stage's hub keeps backups. Files that say so have a worker, and thus a hub, of their own. */
  backups: boolean;
  stage: Stage;
  /** Sessions of this worker, by role: signing in is tested elsewhere. */
  sessions: Map<Role, Storage>;
}

export const test = base.extend<Fixtures, Shared>({
  backups: [false, { option: true, scope: 'worker' }],
  stage: [
    async ({ backups }, use) => {
      const stage = await Stage.set();
      if (backups) await stage.keepBackups();
      await use(stage);
      await stage.strike();
    },
    { scope: 'worker', timeout: 120_000 },
  ],
  sessions: [async ({}, use) => use(new Map()), { scope: 'worker' }],
  troubles: async ({}, use) => {
    const troubles: string[] = [];
    await use(troubles);
    expect(troubles, 'errors in the console and failed requests').toEqual([]);
  },
  as: async ({ browser, stage, sessions, troubles, contextOptions }, use) => {
    const contexts: BrowserContext[] = [];
    await use(async (role) => {
      let session = sessions.get(role);
      if (!session) sessions.set(role, (session = await signIn(browser, stage, role)));
      const context = await browser.newContext({ ...contextOptions, storageState: session, baseURL: stage.url });
      contexts.push(context);
      const page = await context.newPage();
      watch(page, troubles);
      return page;
    });
    for (const context of contexts) await context.close();
  },
  owner: async ({ as }, use) => use(await as('owner')),
});

export { expect } from '@playwright/test';

/** Signs in by a one-time link and gives what the browser keeps. */
async function signIn(browser: Browser, stage: Stage, role: Role): Promise<Storage> {
  const context = await browser.newContext();
  const page = await context.newPage();
  if (role === 'owner') await page.goto(await stage.link());
  else {
    const person = await stage.invite(role);
    await page.goto(person.link);
    await choosePassword(page, person.password);
  }
  await expect(views(page)).toBeVisible();
  const session = await context.storageState();
  await context.close();
  return session;
}

/** Fills in the form that a link of a new user shows. */
export async function choosePassword(page: Page, password: string): Promise<void> {
  await page.getByLabel(/^(choose a |new )?password/i).fill(password);
  await page.getByRole('button', { name: /sign in|choose|set/i }).click();
}

/** The navigation, which only who is signed in sees. */
export const views = (page: Page) => page.getByRole('navigation').first();

/** Not the page's: it gave a request up itself, or a container network of this machine came or went. */
const NO_TROUBLE = /net::ERR_(ABORTED|NETWORK_CHANGED)/;

/** Notes what goes wrong in a page. */
export function watch(page: Page, troubles: string[]): void {
  page.on('console', (message) => {
    if (message.type() === 'error' && !NO_TROUBLE.test(message.text())) troubles.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => troubles.push(`error: ${error.message}`));
  page.on('response', (response) => {
    if (response.status() >= 400) troubles.push(`${response.status()} ${response.request().method()} ${response.url()}`);
  });
  page.on('requestfailed', (request) => {
    const why = request.failure()?.errorText ?? '';
    if (!NO_TROUBLE.test(why)) troubles.push(`${why} ${request.method()} ${request.url()}`);
  });
}

/** Opens a view and waits until it shows what it found. */
export async function open(page: Page, address: string): Promise<void> {
  await page.goto(`/#${address}`);
  await settled(page);
}

/** Waits until a view has a heading, nothing loads and nothing failed. */
export async function settled(page: Page): Promise<void> {
  await expect(page.getByRole('heading', { level: 1 }).first()).toBeVisible();
  await expect(page.locator('[aria-busy="true"]')).toHaveCount(0);
  await expect(page.getByRole('main')).not.toContainText(/Loading…|Asking the hub…/);
  await expect(page.getByRole('alert')).toHaveCount(0);
}

/** Keeps a picture of the whole page beside the run's results. */
export async function picture(page: Page, name: string, info: TestInfo): Promise<void> {
  const folder = join(info.project.outputDir, '..', 'pictures');
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true, animations: 'disabled' });
}

/** What the accessibility check calls serious or critical. */
export async function findings(page: Page): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const grave = violations.filter((one) => one.impact === 'serious' || one.impact === 'critical');
  return grave.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html} (${node.failureSummary ?? ''})`));
}
