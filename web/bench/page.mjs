// What the page costs on a large hub, in headless Chromium. `cargo xtask bench page` starts it beside a hub and reads
// the JSON on its last line. Told by the environment: BACKSTAY_URL, BACKSTAY_TOKEN, BACKSTAY_LINK, BACKSTAY_CHROMIUM.
import { chromium } from '@playwright/test';

const { BACKSTAY_URL: hub, BACKSTAY_TOKEN: token, BACKSTAY_LINK: link, BACKSTAY_CHROMIUM: program } = process.env;
const ROUNDS = 7;
const SIZE = { width: 1440, height: 900 };
const MONTH = '#/timeline?span=30d';

const browser = await chromium.launch({ executablePath: program ?? '/usr/bin/chromium', args: process.getuid() === 0 ? ['--no-sandbox'] : [] });
const session = await signedIn();
const figures = {
  ...(await answers()),
  ...(await firstPaint()),
  ...(await timeline()),
  ...(await events()),
  ...(await frames()),
};
await browser.close();
console.log(JSON.stringify(figures));

/** The cookie of a session, by a one-time link. */
async function signedIn() {
  const context = await browser.newContext({ viewport: SIZE });
  const page = await context.newPage();
  await page.goto(link);
  await page.getByRole('navigation').first().waitFor();
  const state = await context.storageState();
  await context.close();
  return state;
}

/** A page without anything in the browser's cache. */
async function fresh(init) {
  const context = await browser.newContext({ viewport: SIZE, storageState: session });
  const page = await context.newPage();
  await page.addInitScript(watch);
  if (init) await page.addInitScript(init);
  return page;
}

/** Runs in the page before anything of its own: notes when things are there. */
function watch() {
  window.bench = { drawn: 0, calls: 0 };
  // The chart is drawn when a frame had many marks; axis and names alone are some sixty.
  for (const name of ['fillRect', 'rect', 'roundRect', 'arc', 'lineTo']) {
    const own = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...args) {
      if (window.bench.calls === 0) {
        requestAnimationFrame(() => {
          if (window.bench.calls > 150 && window.bench.drawn === 0) window.bench.drawn = performance.now();
          window.bench.calls = 0;
        });
      }
      window.bench.calls += 1;
      return own.apply(this, args);
    };
  }
  /** When `there` first gives something and the next frame was painted, in milliseconds since the page was asked for. */
  window.bench.when = (there) =>
    new Promise((done, failed) => {
      const late = performance.now() + 20_000;
      const look = () => {
        if (performance.now() > late) return failed(new Error(`not there within 20 s: ${there}`));
        if (!there()) return requestAnimationFrame(look);
        requestAnimationFrame(() => setTimeout(() => done(performance.now())));
      };
      look();
    });
}

async function firstPaint() {
  const paints = [];
  const plain = [];
  const ready = [];
  const kilobytes = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const page = await fresh();
    await page.goto(`${hub}/`);
    // Figures of nodes are on it, and it answers.
    ready.push(await page.evaluate(() => window.bench.when(() => document.querySelector('main a[href^="#/nodes"]'))));
    paints.push(await paint(page));
    kilobytes.push(
      await page.evaluate((until) => {
        const files = performance.getEntriesByType('resource').filter((one) => one.name.endsWith('.js') && one.startTime < until);
        return files.reduce((sum, one) => sum + one.encodedBodySize, 0) / 1000;
      }, ready.at(-1)),
    );
    await page.context().close();
    const other = await fresh();
    await other.goto(`${hub}/docs`);
    plain.push(await paint(other));
    await other.context().close();
  }
  return {
    first_paint_ms: median(paints), plain_paint_ms: median(plain), overview_interactive_ms: median(ready), js_kb: Math.max(...kilobytes),
    first_paint_all_ms: paints.map(Math.round), overview_interactive_all_ms: ready.map(Math.round),
  };
}

function paint(page) {
  return page.evaluate(
    () =>
      new Promise((done) => {
        const [entry] = performance.getEntriesByName('first-contentful-paint');
        if (entry) return done(entry.startTime);
        new PerformanceObserver((list) => {
          const [later] = list.getEntriesByName('first-contentful-paint');
          if (later) done(later.startTime);
        }).observe({ type: 'paint', buffered: true });
      }),
  );
}

/** From the click to a drawn month: in an open page, and opened anew at its address. */
async function timeline() {
  const warm = [];
  const cold = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const page = await fresh();
    await page.goto(`${hub}/`);
    await page.evaluate(() => window.bench.when(() => document.querySelector('main a[href^="#/nodes"]')));
    await page.waitForTimeout(1500);
    warm.push(
      await page.evaluate(async (address) => {
        const start = performance.now();
        location.hash = address;
        return (await window.bench.when(() => window.bench.drawn)) - start;
      }, MONTH),
    );
    await page.context().close();
    const other = await fresh();
    await other.goto(`${hub}/${MONTH}`);
    cold.push(await other.evaluate(() => window.bench.when(() => window.bench.drawn)));
    await other.context().close();
  }
  return { timeline_ms: median(warm), timeline_cold_ms: median(cold), timeline_all_ms: warm.map(Math.round) };
}

/** From a request that records something to its words on the overview. */
async function events() {
  const page = await fresh();
  await page.goto(`${hub}/`);
  await page.evaluate(() => window.bench.when(() => document.querySelector('main a[href^="#/nodes"]')));
  await page.waitForTimeout(1000);
  const took = [];
  for (let round = 0; round < 10; round += 1) {
    const tool = `bench-${round}-${Date.now()}`;
    const seen = page.evaluate((text) => {
      const there = () => document.querySelector('main')?.textContent?.includes(text);
      return window.bench.when(there).then(() => Date.now());
    }, tool);
    const start = Date.now();
    await call('POST', '/api/v1/conversations/resolve', { tool, kind: 'session_id', value: tool });
    took.push((await seen) - start);
  }
  await page.context().close();
  return { event_visible_ms: median(took), event_visible_worst_ms: Math.max(...took) };
}

/** Frames while all rows of the table of nodes go by, a screen every quarter of a second. */
async function frames() {
  const page = await fresh();
  await page.goto(`${hub}/#/nodes`);
  await page.evaluate(() => window.bench.when(() => document.querySelector('main a[href^="#/nodes/"]')));
  await page.waitForTimeout(1000);
  const intervals = await page.evaluate(
    () =>
      new Promise((done) => {
        const found = [];
        let last = 0;
        const step = (at) => {
          if (last) found.push(at - last);
          last = at;
          window.scrollBy(0, 60);
          if (found.length < 300) requestAnimationFrame(step);
          else done(found);
        };
        requestAnimationFrame(step);
      }),
  );
  const scrolled = await page.evaluate(() => window.scrollY);
  await page.context().close();
  if (scrolled < 10_000) throw new Error(`the table of nodes scrolled by ${scrolled} px only`);
  const sorted = intervals.toSorted((a, b) => a - b);
  const all = intervals.reduce((sum, one) => sum + one, 0);
  return {
    frame_median_ms: median(intervals), frame_p95_ms: sorted[Math.floor(sorted.length * 0.95)], frames_a_second: (intervals.length / all) * 1000,
  };
}

/** What the page asks most of the hub. */
async function answers() {
  const since = new Date(Date.now() - 30 * 86_400_000).toISOString();
  const asked = {
    overview_answer_ms: '/api/v1/overview',
    graph_answer_ms: `/api/v1/graph?lanes=stack&since=${since}&until=${new Date().toISOString()}`,
    node_rows_answer_ms: '/api/v1/node-rows?limit=100&offset=5000&sort=last_seen',
    search_answer_ms: '/api/v1/search?q=camera-00',
  };
  const found = {};
  for (const [name, path] of Object.entries(asked)) {
    const took = [];
    for (let round = 0; round < 15; round += 1) {
      const start = performance.now();
      await call('GET', path);
      took.push(performance.now() - start);
    }
    found[name] = median(took);
  }
  return found;
}

async function call(method, path, body) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const response = await fetch(`${hub}${path}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text;
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
