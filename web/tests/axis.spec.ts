// The time axis without a browser: its windows, and where things stand on it.
import { expect, test } from '@playwright/test';

import type { components } from '../src/lib/api.gen';
import { hit, layout, next, prepare, type Scale } from '../src/lib/timeline/layout';
import { cover, covers, end, fromQuery, pan, PRESETS, ticks, toQuery, zoom } from '../src/lib/timeline/span';

type Schemas = components['schemas'];
type Item = Schemas['GraphItem'];

const NOW = Date.parse('2026-03-29T12:00:00Z');
const HOUR = 3_600_000;
const SCALE: Scale = { since: NOW - 24 * HOUR, until: NOW, left: 100, right: 1300, top: 30, names: 'beside' };

/** The same numbers each time, spread over 0 to 1. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

const query = (span: ReturnType<typeof fromQuery>) => {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(toQuery(span))) if (value) found.set(key, value);
  return found;
};

test('a window stands in the address as it is', () => {
  for (const [, width] of PRESETS) expect(fromQuery(query({ width, until: null }))).toEqual({ width, until: null });
  const random = numbers(7);
  for (let round = 0; round < 200; round += 1) {
    const span = { width: Math.round(10_000 + random() * 1e10), until: round % 2 ? NOW - Math.round(random() * 1e9) : null };
    const again = fromQuery(query(span));
    expect(again.until).toBe(span.until);
    expect(Math.abs(again.width - span.width)).toBeLessThanOrEqual(span.until === null ? 500 : 0);
  }
  expect(fromQuery(new URLSearchParams('since=nonsense&until=2026-01-01'))).toEqual({ width: 24 * HOUR, until: null });
  expect(fromQuery(new URLSearchParams('since=2026-01-02&until=2026-01-01'))).toEqual({ width: 24 * HOUR, until: null });
});

test('what is pointed at stays where it is while one zooms, and nothing shows the future', () => {
  const random = numbers(11);
  for (let round = 0; round < 500; round += 1) {
    const span = { width: 20_000 + random() * 1e9, until: NOW - 1e9 - random() * 1e9 };
    const share = random();
    const factor = 0.3 + random() * 2;
    const zoomed = zoom(span, factor, share, NOW);
    const at = (one: typeof zoomed) => end(one, NOW) - one.width * (1 - share);
    if (zoomed.until !== null && zoomed.width === span.width * factor) expect(Math.abs(at(zoomed) - at(span))).toBeLessThan(1);
    expect(end(zoomed, NOW)).toBeLessThanOrEqual(NOW);
    expect(end(pan(span, random() * 1e4, NOW), NOW)).toBeLessThanOrEqual(NOW);
  }
});

test('a window that reaches now follows it, until it is moved back', () => {
  const day = { width: 24 * HOUR, until: null };
  expect(pan(day, 0.5, NOW)).toEqual(day);
  expect(zoom(day, 0.5, 1, NOW)).toEqual({ width: 12 * HOUR, until: null });
  const back = pan(day, -0.5, NOW);
  expect(back).toEqual({ width: 24 * HOUR, until: NOW - 12 * HOUR });
  expect(pan(back, 0.5, NOW)).toEqual(day);
});

test('a small move needs no new answer, a large one does', () => {
  const random = numbers(13);
  for (let round = 0; round < 200; round += 1) {
    const span = { width: 60_000 + random() * 1e9, until: round % 3 ? NOW - random() * 1e9 : null };
    const asked = cover(span, NOW);
    expect(covers(asked, span, NOW)).toBe(true);
    expect(covers(asked, pan(span, -0.2, NOW), NOW)).toBe(true);
    expect(covers(asked, pan(span, -0.5, NOW), NOW)).toBe(false);
    expect(covers(asked, zoom(span, 0.25, 0.5, NOW), NOW), 'it would be counted too coarsely').toBe(false);
  }
});

test('ticks are round, in order, and not too many', () => {
  for (const width of [20_000, 600_000, HOUR, 24 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR, 300 * 24 * HOUR]) {
    const found = ticks(NOW - width, NOW, 12);
    expect(found.length).toBeGreaterThan(1);
    expect(found.length).toBeLessThanOrEqual(14);
    expect(found.map((tick) => tick.at)).toEqual(found.map((tick) => tick.at).toSorted((a, b) => a - b));
    for (const tick of found) if (tick.strong) expect(new Date(tick.at).getHours()).toBe(0);
  }
});

const item = (kind: Item['kind'], id: string, at: number, more: Partial<Item> = {}): Item => ({
  kind, id, lanes: ['web'], at: new Date(at).toISOString(), until: null, state: '', title: id, refs: {}, undo: false, ...more,
});
const graph = (items: Item[], more: Partial<Schemas['Graph']> = {}): Schemas['Graph'] => ({
  since: '', until: '', seq: 1, lanes: [{ key: 'web', name: 'web' }], more_lanes: 0, items, buckets: [], bucket_seconds: null, truncated: [], ...more,
});
const place = (found: Schemas['Graph'], hidden: Item['kind'][] = []) => layout(prepare(found, new Set(hidden)), SCALE, NOW);

test('every item is drawn once in each of its lanes, and no mark lies on another', () => {
  const random = numbers(17);
  const kinds: Item['kind'][] = ['commit', 'deployment', 'undo', 'halt', 'drift', 'constraint', 'conversation'];
  for (const many of [1, 5, 40, 400]) {
    const items = Array.from({ length: many }, (_, index) => {
      const at = NOW - random() * 24 * HOUR;
      const kind = kinds[Math.floor(random() * kinds.length)] ?? 'commit';
      return item(kind, `${index}`, at, kind === 'conversation' ? { until: new Date(at + random() * HOUR).toISOString() } : {});
    }).sort((a, b) => a.at.localeCompare(b.at));
    const { shapes, height } = place(graph(items));
    const drawn = shapes.flatMap((shape) => (shape.is === 'span' ? [shape.item] : shape.is === 'mark' ? shape.items : []));
    expect(drawn.map((one) => one.id).toSorted()).toEqual(items.map((one) => one.id).toSorted());
    const marks = shapes.filter((shape) => shape.is === 'mark');
    for (const row of new Set(marks.map((mark) => mark.y))) {
      const along = marks.filter((mark) => mark.y === row).sort((a, b) => a.x - b.x);
      const alike = new Set(along.map((mark) => mark.items[0]?.kind)).size === 1;
      for (const [index, mark] of along.entries()) {
        const after = along[index + 1];
        if (alike && after) expect(mark.x + mark.w).toBeLessThanOrEqual(after.x + 0.01);
      }
    }
    expect(Math.max(...shapes.map((shape) => shape.y + shape.h))).toBeLessThanOrEqual(height);
  }
});

test('a kind that is hidden is not there, and what concerns no lane is of the whole fleet', () => {
  const items = [item('commit', 'a', NOW - HOUR), item('node', 'b', NOW - HOUR, { lanes: [] })];
  expect(place(graph(items)).rows.map((row) => row.name)).toEqual(['Whole fleet', 'web']);
  expect(place(graph(items), ['commit']).rows.map((row) => row.name)).toEqual(['Whole fleet']);
  expect(place(graph(items, { more_lanes: 3 })).rows[0]?.name).toBe('All others');
});

test('an undo points back at what it took back', () => {
  const items = [
    item('conversation', 'talk', NOW - 10 * HOUR, { until: new Date(NOW - 9 * HOUR).toISOString(), refs: { conversation: 'talk' } }),
    item('undo', 'undo', NOW - 2 * HOUR, { refs: { undo: 'undo', conversation: 'talk' } }),
  ];
  const [arrow] = place(graph(items)).arrows;
  expect(arrow?.from[0]).toBeGreaterThan(arrow?.to[0] ?? Infinity);
  expect(place(graph(items.slice(1))).arrows).toEqual([]);
});

test('counted deployments are bars whose red part is never more than the whole', () => {
  const buckets = [
    { lane: 'web', at: new Date(NOW - 5 * HOUR).toISOString(), count: 5000, failures: 0 },
    { lane: 'web', at: new Date(NOW - 4 * HOUR).toISOString(), count: 1, failures: 1 },
  ];
  const [many, one] = place(graph([], { buckets, bucket_seconds: 430 })).shapes.flatMap((shape) => (shape.is === 'bucket' ? [shape] : []));
  expect(many?.failed).toBe(0);
  expect(one?.failed).toBeGreaterThan(0);
  expect(one?.failed).toBeLessThanOrEqual(one?.fill ?? 0);
  expect(many?.fill).toBeGreaterThan(one?.fill ?? Infinity);
});

test('a thing is found under the pointer and by the arrow keys', () => {
  const items = [item('commit', 'a', NOW - 20 * HOUR), item('commit', 'b', NOW - 10 * HOUR), item('node', 'c', NOW - 9 * HOUR, { lanes: [] })];
  const { shapes, rows } = place(graph(items));
  const [c, a, b] = shapes;
  if (!a || !b || !c) throw new Error('three shapes');
  expect(hit(shapes, a.x + 1, a.y + 1, 3)?.key).toBe(a.key);
  expect(hit(shapes, a.x + 200, a.y, 3)).toBeNull();
  expect(next(shapes, rows, null, 'ArrowLeft')?.key, 'one begins at the newest').toBe(c.key);
  expect(next(shapes, rows, a.key, 'ArrowRight')?.key).toBe(b.key);
  expect(next(shapes, rows, b.key, 'ArrowRight')).toBeNull();
  expect(next(shapes, rows, c.key, 'ArrowDown')?.key, 'the nearest in the lane below').toBe(b.key);
});
