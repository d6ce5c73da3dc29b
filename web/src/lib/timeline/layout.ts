// Where everything stands: a graph from the hub as shapes in lanes. Pure; positions are CSS pixels.
import type { Bucket, Graph, GraphItem, GraphKind } from '../api';

export type Shape =
  | { is: 'span'; key: string; lane: string; item: GraphItem; x: number; y: number; w: number; h: number; room: number }
  | { is: 'mark'; key: string; lane: string; items: GraphItem[]; x: number; y: number; w: number; h: number }
  | { is: 'bucket'; key: string; lane: string; bucket: Bucket; x: number; y: number; w: number; h: number; fill: number; failed: number };

export interface Row { key: string; name: string; y: number; height: number }
export interface Arrow { from: [number, number]; to: [number, number]; key: string }
export interface Layout { rows: Row[]; shapes: Shape[]; arrows: Arrow[]; height: number }

export interface Scale { since: number; until: number; left: number; right: number; top: number; names: 'beside' | 'above' }

/** Items of no lane: they concern the whole fleet. */
export const FLEET = '\0fleet';
const PAD = 7;
const NAME = 16;
const TALK = 20;
const MARKS = 22;
const RUNS = 24;
const BARS = 40;
const MOST_TALKS = 5;
const MOST_MARKS = 3;
/** Marks nearer than this are one, up to this wide. */
const NEAR = 10;
const WIDE = 30;
const SIZE = 16;

export const place = (scale: Scale, at: number): number =>
  scale.left + ((at - scale.since) / (scale.until - scale.since)) * (scale.right - scale.left);

const time = (text: string): number => Date.parse(text);

export function layout(graph: Graph, hidden: ReadonlySet<GraphKind>, scale: Scale, now: number): Layout {
  const names = new Map(graph.lanes.map((lane) => [lane.key, lane.name]));
  const lanes = new Map<string, { items: GraphItem[]; buckets: Bucket[] }>();
  const lane = (key: string) => {
    const found = lanes.get(key) ?? { items: [], buckets: [] };
    lanes.set(key, found);
    return found;
  };
  for (const item of graph.items) {
    if (hidden.has(item.kind)) continue;
    const keys = item.lanes.filter((key) => names.has(key));
    if (item.lanes.length === 0) lane(FLEET).items.push(item);
    for (const key of keys) lane(key).items.push(item);
  }
  if (!hidden.has('deployment')) for (const bucket of graph.buckets) if (names.has(bucket.lane)) lane(bucket.lane).buckets.push(bucket);

  const most = Math.max(1, ...graph.buckets.map((bucket) => bucket.count));
  const result: Layout = { rows: [], shapes: [], arrows: [], height: 0 };
  let y = scale.top;
  const order = [[FLEET, 'Whole fleet'] as const, ...graph.lanes.map((one) => [one.key, one.name] as const)];
  for (const [key, name] of order) {
    const content = lanes.get(key);
    if (!content) continue;
    const row = one(key, content, { scale, y, now, most, seconds: graph.bucket_seconds ?? 0 });
    result.shapes.push(...row.shapes);
    result.rows.push({ key, name, y, height: row.height });
    y += row.height;
  }
  result.height = y;
  result.arrows = arrows(result.shapes);
  return result;
}

interface At { scale: Scale; y: number; now: number; most: number; seconds: number }

function one(key: string, { items, buckets }: { items: GraphItem[]; buckets: Bucket[] }, at: At): { shapes: Shape[]; height: number } {
  let y = at.y + PAD + (at.scale.names === 'above' ? NAME : 0);
  const shapes: Shape[] = [];
  const talks = spans(key, items.filter((item) => item.kind === 'conversation'), y, at);
  shapes.push(...talks.shapes);
  y += talks.rows * TALK;
  // Commits are many; what is rare does not vanish among them.
  const commits = items.filter((item) => item.kind === 'commit');
  const rare = items.filter((item) => !['conversation', 'commit', 'deployment'].includes(item.kind));
  if (commits.length > 0) {
    shapes.push(...grouped(key, commits, y + 2, at.scale));
    y += MARKS;
  }
  const marks = apart([...new Set(rare.map((item) => item.kind))].flatMap((kind) => grouped(key, rare.filter((item) => item.kind === kind), y + 2, at.scale)));
  shapes.push(...marks.shapes);
  y += marks.rows * MARKS;
  const runs = items.filter((item) => item.kind === 'deployment');
  if (buckets.length > 0) {
    shapes.push(...bars(key, buckets, y, at));
    y += BARS;
  } else if (runs.length > 0) {
    shapes.push(...grouped(key, runs, y + 2, at.scale));
    y += RUNS;
  }
  return { shapes, height: Math.max(30, y + PAD - at.y) };
}

/** Conversations as bars, as few rows as they need. */
function spans(lane: string, items: GraphItem[], y: number, { scale, now }: At): { shapes: Shape[]; rows: number } {
  const ends: number[] = [];
  const last: (Shape & { is: 'span' })[] = [];
  const shapes: Shape[] = [];
  for (const item of items) {
    const x = place(scale, time(item.at));
    const w = Math.max(12, place(scale, item.until ? time(item.until) : now) - x);
    let row = ends.findIndex((right) => right + 3 <= x);
    if (row < 0) row = ends.length < MOST_TALKS ? ends.length : ends.indexOf(Math.min(...ends));
    const before = last[row];
    if (before) before.room = Math.max(0, x - before.x - 4);
    ends[row] = x + w;
    const shape: Shape & { is: 'span' } = { is: 'span', key: `conversation:${item.id}@${lane}`, lane, item, x, y: y + row * TALK + 1, w, h: TALK - 3, room: Math.max(w, scale.right - x - 4) };
    last[row] = shape;
    shapes.push(shape);
  }
  return { shapes, rows: ends.length };
}

/** Marks; those that would lie on each other are one. */
function grouped(lane: string, items: GraphItem[], y: number, scale: Scale): Shape[] {
  const shapes: Shape[] = [];
  let group: GraphItem[] = [];
  let from = 0;
  let to = 0;
  const close = () => {
    const first = group[0];
    if (!first) return;
    const w = group.length === 1 ? SIZE : Math.max(SIZE + 6, to - from + SIZE);
    shapes.push({ is: 'mark', key: `${first.kind}:${first.id}@${lane}`, lane, items: group, x: (from + to) / 2 - w / 2, y, w, h: SIZE });
  };
  for (const item of items) {
    const x = place(scale, time(item.at));
    if (group.length > 0 && x - to < NEAR + SIZE / 2 && x - from < WIDE) group.push(item);
    else {
      close();
      group = [item];
      from = x;
    }
    to = x;
  }
  close();
  return shapes;
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

function bars(lane: string, buckets: Bucket[], y: number, { scale, most, seconds }: At): Shape[] {
  const high = BARS - 6;
  return buckets.map((bucket) => {
    const from = time(bucket.at);
    const x = place(scale, from);
    const w = Math.max(2, place(scale, from + seconds * 1000) - x - 1);
    const fill = Math.max(3, (bucket.count / most) * high);
    const failed = bucket.failures === 0 ? 0 : Math.max(3, (bucket.failures / most) * high);
    return { is: 'bucket', key: `bucket:${bucket.at}@${lane}`, lane, bucket, x, y, w, h: BARS, fill: Math.max(fill, failed), failed };
  });
}

/** From each undo back to what it took back, where that is in the same lane. */
function arrows(shapes: Shape[]): Arrow[] {
  const found: Arrow[] = [];
  for (const shape of shapes) {
    if (shape.is !== 'mark') continue;
    for (const item of shape.items) {
      if (item.kind !== 'undo') continue;
      const target = shapes.find((other) => other !== shape && other.lane === shape.lane && takenBack(item, other));
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
