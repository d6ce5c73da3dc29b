// Where everything stands: a graph from the hub as shapes in lanes. Pure; positions are CSS pixels.
import type { Bucket, Graph, GraphItem, GraphKind } from '../api';
import { brief } from '../words';

export type Shape =
  | { is: 'span'; key: string; lane: string; item: Thing; x: number; y: number; w: number; h: number; room: number }
  | { is: 'mark'; key: string; lane: string; items: Thing[]; x: number; y: number; w: number; h: number }
  | { is: 'bucket'; key: string; lane: string; bucket: Bucket; x: number; y: number; w: number; h: number; fill: number; failed: number };

/** An item with what is asked of it in each frame. */
export interface Thing extends GraphItem {
  /** When it began and ended, in milliseconds; what goes on has no end. */
  from: number;
  to: number | null;
}

interface Lane { key: string; name: string; talks: Thing[]; commits: Thing[]; rare: Thing[][]; runs: Thing[]; buckets: { bucket: Bucket; from: number }[] }
/** A graph, sorted into lanes and rows. */
export interface Prepared { lanes: Lane[]; most: number; seconds: number }

export interface Row { key: string; name: string; y: number; height: number }
export interface Arrow { from: [number, number]; to: [number, number]; key: string }
export interface Layout { rows: Row[]; shapes: Shape[]; arrows: Arrow[]; height: number }

export interface Scale { since: number; until: number; left: number; right: number; top: number; names: 'beside' | 'above' }

/** Items of no lane: they concern the whole fleet, or what is not drawn. */
export const FLEET = '\0fleet';
const PAD = 7;
const NAME = 16;
const TALK = 20;
const MARKS = 22;
const RUNS = 24;
const BARS = 40;
const MOST_TALKS = 5;
const MOST_MARKS = 3;
/** A conversation that is narrower than this is a mark where there are many. */
const BAR = 24;
/** Marks nearer than this are one, up to this wide. */
const NEAR = 10;
const WIDE = 38;
const SIZE = 16;

export const place = (scale: Scale, at: number): number =>
  scale.left + ((at - scale.since) / (scale.until - scale.since)) * (scale.right - scale.left);

/** Once for each answer; then `layout` for each frame. */
export function prepare(graph: Graph, hidden: ReadonlySet<GraphKind>): Prepared {
  const fleet = graph.more_lanes > 0 ? 'All others' : 'Whole fleet';
  const lanes = new Map<string, Lane>();
  for (const { key, name } of [{ key: FLEET, name: fleet }, ...graph.lanes]) {
    lanes.set(key, { key, name, talks: [], commits: [], rare: [], runs: [], buckets: [] });
  }
  const kinds = new Map<Lane, Map<GraphKind, Thing[]>>();
  for (const item of graph.items) {
    if (hidden.has(item.kind)) continue;
    const thing: Thing = { ...item, title: brief(item.title), from: Date.parse(item.at), to: item.until ? Date.parse(item.until) : null };
    for (const key of item.lanes.length === 0 ? [FLEET] : item.lanes) {
      const lane = lanes.get(key);
      if (lane) put(lane, thing, kinds);
    }
  }
  for (const [lane, rare] of kinds) lane.rare = [...rare.values()];
  if (!hidden.has('deployment')) for (const bucket of graph.buckets) lanes.get(bucket.lane)?.buckets.push({ bucket, from: Date.parse(bucket.at) });
  const all = [...lanes.values()].filter((lane) => [lane.talks, lane.commits, lane.rare, lane.runs, lane.buckets].some((some) => some.length > 0));
  return { lanes: all, most: Math.max(1, ...graph.buckets.map((bucket) => bucket.count)), seconds: graph.bucket_seconds ?? 0 };
}

function put(lane: Lane, thing: Thing, kinds: Map<Lane, Map<GraphKind, Thing[]>>): void {
  const whole = { conversation: lane.talks, commit: lane.commits, deployment: lane.runs } as Partial<Record<GraphKind, Thing[]>>;
  const row = whole[thing.kind];
  if (row) {
    row.push(thing);
    return;
  }
  const rare = kinds.get(lane) ?? new Map<GraphKind, Thing[]>();
  kinds.set(lane, rare);
  rare.set(thing.kind, [...(rare.get(thing.kind) ?? []), thing]);
}

export function layout(graph: Prepared, scale: Scale, now: number): Layout {
  const result: Layout = { rows: [], shapes: [], arrows: [], height: 0 };
  let y = scale.top;
  for (const lane of graph.lanes) {
    const row = one(lane, { scale, y, now, most: graph.most, seconds: graph.seconds });
    result.shapes.push(...row.shapes);
    result.arrows.push(...arrows(row.shapes));
    result.rows.push({ key: lane.key, name: lane.name, y, height: row.height });
    y += row.height;
  }
  result.height = y;
  return result;
}

interface At { scale: Scale; y: number; now: number; most: number; seconds: number }

function one({ key, talks, commits, rare, runs, buckets }: Lane, at: At): { shapes: Shape[]; height: number } {
  let y = at.y + PAD + (at.scale.names === 'above' ? NAME : 0);
  const shapes: Shape[] = [];
  const bars = spans(key, talks, y, at);
  shapes.push(...bars.shapes);
  y += bars.height;
  if (commits.length > 0) {
    shapes.push(...grouped(key, commits, y + 2, at.scale));
    y += MARKS;
  }
  // What is rare does not vanish among commits, nor one kind behind another.
  const marks = apart(rare.flatMap((some) => grouped(key, some, y + 2, at.scale)));
  shapes.push(...marks.shapes);
  y += marks.rows * MARKS;
  if (buckets.length > 0) {
    shapes.push(...counted(key, buckets, y, at));
    y += BARS;
  } else if (runs.length > 0) {
    shapes.push(...grouped(key, runs, y + 2, at.scale));
    y += RUNS;
  }
  return { shapes, height: Math.max(30, y + PAD - at.y) };
}

/** Conversations as bars, in as few rows as they need; where there are too many, the short ones are marks. */
function spans(lane: string, talks: Thing[], y: number, at: At): { shapes: Shape[]; height: number } {
  const all = packed(lane, talks, y, at);
  if (all.rows <= MOST_TALKS) return { shapes: all.shapes, height: all.rows * TALK };
  const short = (talk: Thing) => place(at.scale, talk.to ?? at.now) - place(at.scale, talk.from) < BAR;
  const marks = grouped(lane, talks.filter(short), y + 2, at.scale);
  const long = packed(lane, talks.filter((talk) => !short(talk)), y + MARKS, at);
  return { shapes: [...marks, ...long.shapes], height: MARKS + Math.min(MOST_TALKS, long.rows) * TALK };
}

function packed(lane: string, talks: Thing[], y: number, { scale, now }: At): { shapes: Shape[]; rows: number } {
  const ends: number[] = [];
  const last: (Shape & { is: 'span' })[] = [];
  const shapes: Shape[] = [];
  let rows = 0;
  for (const item of talks) {
    const x = place(scale, item.from);
    const w = Math.max(12, place(scale, item.to ?? now) - x);
    let row = ends.findIndex((right) => right + 3 <= x);
    if (row < 0) row = ends.length;
    rows = Math.max(rows, row + 1);
    const before = last[row];
    if (before) before.room = Math.max(0, x - before.x - 4);
    ends[row] = x + w;
    const top = y + Math.min(row, MOST_TALKS - 1) * TALK + 1;
    const shape: Shape & { is: 'span' } = {
      is: 'span', key: `conversation:${item.id}@${lane}`, lane, item, x, y: top, w, h: TALK - 3, room: Math.max(w, scale.right - x - 4),
    };
    last[row] = shape;
    shapes.push(shape);
  }
  return { shapes, rows };
}

/** Marks; those that would lie on each other are one. */
function grouped(lane: string, items: Thing[], y: number, scale: Scale): Shape[] {
  const groups: { items: Thing[]; from: number; to: number }[] = [];
  for (const item of items) {
    const x = place(scale, item.from);
    const group = groups.at(-1);
    if (group && x - group.to < NEAR + SIZE / 2 && x - group.from < WIDE) {
      group.items.push(item);
      group.to = x;
    } else groups.push({ items: [item], from: x, to: x });
  }
  let free = -Infinity;
  return groups.map(({ items: some, from, to }, index) => {
    const [first] = some;
    const digits = some.length > 1 ? 6 + 6 * `${some.length}`.length : 0;
    const wished = Math.max(SIZE + digits, to - from + SIZE);
    // Groups that were cut where they became too wide stand side by side, each over its own time.
    const room = (groups[index + 1]?.from ?? Infinity) - from - 1;
    const w = Math.min(wished, Math.max(room, SIZE + Math.min(digits, 6)));
    const x = Math.max(free, (from + to) / 2 - Math.min(wished, w + to - from) / 2);
    free = x + w;
    return { is: 'mark', key: `${first?.kind}:${first?.id}@${lane}`, lane, items: some, x, y, w, h: SIZE };
  });
}

/** Marks of several kinds below each other where they would lie on each other. */
function apart(shapes: Shape[]): { shapes: Shape[]; rows: number } {
  const ends: number[] = [];
  for (const shape of shapes.sort((a, b) => a.x - b.x)) {
    let row = ends.findIndex((right) => right + 2 <= shape.x);
    if (row < 0) row = ends.length < MOST_MARKS ? ends.length : ends.indexOf(Math.min(...ends));
    ends[row] = shape.x + shape.w;
    shape.y += row * MARKS;
  }
  return { shapes, rows: ends.length };
}

/** Bars as high as the root of their count: a lane of few is seen beside a lane of many. */
function counted(lane: string, buckets: Lane['buckets'], y: number, { scale, most, seconds }: At): Shape[] {
  const high = BARS - 6;
  return buckets.map(({ bucket, from }) => {
    const x = place(scale, from);
    const w = Math.max(3, place(scale, from + seconds * 1000) - x - 1);
    const fill = Math.max(5, Math.sqrt(bucket.count / most) * high);
    const failed = bucket.failures === 0 ? 0 : Math.max(3, (bucket.failures / bucket.count) * fill);
    return { is: 'bucket', key: `bucket:${bucket.at}@${lane}`, lane, bucket, x, y, w, h: BARS, fill, failed };
  });
}

/** From each undo of a lane back to what it took back, where that is in the lane too. */
function arrows(shapes: Shape[]): Arrow[] {
  const found: Arrow[] = [];
  for (const shape of shapes) {
    if (shape.is !== 'mark') continue;
    for (const item of shape.items) {
      if (item.kind !== 'undo') continue;
      const target = shapes.find((other) => other !== shape && takenBack(item, other));
      if (!target) continue;
      const x = target.is === 'span' ? Math.min(target.x + target.w, shape.x) : target.x + target.w / 2;
      found.push({ key: shape.key, from: [shape.x + shape.w / 2, shape.y], to: [x, target.is === 'span' ? target.y + target.h / 2 : target.y + target.h] });
    }
  }
  return found;
}

function takenBack({ id, refs }: GraphItem, other: Shape): boolean {
  const has = (item: GraphItem) =>
    item.id !== id && [refs.conversation, refs.deployment, refs.commit].some((wanted) => wanted && wanted === item.id);
  if (other.is === 'span') return has(other.item);
  return other.is === 'mark' && other.items.some(has);
}

/** The shape at a point, with some tolerance; the smallest of several. */
export function hit(shapes: readonly Shape[], x: number, y: number, reach: number): Shape | null {
  let best: Shape | null = null;
  for (const shape of shapes) {
    if (x < shape.x - reach || x > shape.x + shape.w + reach || y < shape.y - reach || y > shape.y + shape.h + reach) continue;
    if (!best || shape.w <= best.w) best = shape;
  }
  return best;
}

/** What a shape has to do with: a conversation, an undo, a rollout. What hangs together is lit together. */
export function threads(shape: Shape): Set<string> {
  if (shape.is === 'bucket') return new Set();
  const items = shape.is === 'span' ? [shape.item] : shape.items;
  return new Set(items.flatMap(({ refs }) => [refs.conversation, refs.undo, refs.rollout].filter((one) => typeof one === 'string')));
}

/** The next shape for an arrow key: along the lane, or to the nearest in the lane above or below. */
export function next(shapes: readonly Shape[], rows: readonly Row[], from: string | null, key: string): Shape | null {
  const current = shapes.find((shape) => shape.key === from);
  if (!current) return shapes.reduce<Shape | null>((last, shape) => (!last || shape.x > last.x ? shape : last), null);
  const along = (a: Shape, b: Shape) => a.x - b.x || a.y - b.y;
  if (key === 'ArrowLeft' || key === 'ArrowRight') {
    const lane = shapes.filter((shape) => shape.lane === current.lane).sort(along);
    return lane[lane.indexOf(current) + (key === 'ArrowRight' ? 1 : -1)] ?? null;
  }
  const step = key === 'ArrowDown' ? 1 : -1;
  for (let index = rows.findIndex((row) => row.key === current.lane) + step; rows[index]; index += step) {
    const lane = shapes.filter((shape) => shape.lane === rows[index]?.key);
    if (lane.length > 0) return lane.reduce((near, shape) => (Math.abs(shape.x - current.x) < Math.abs(near.x - current.x) ? shape : near));
  }
  return null;
}
