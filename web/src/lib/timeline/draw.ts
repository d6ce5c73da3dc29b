// Puts a layout on a canvas.
import type { GraphItem } from '../api';
import { type Colour, failed, looks } from './kinds';
import { type Arrow, FLEET, type Layout, place, type Row, type Scale, type Shape, threads } from './layout';
import { type Tick } from './span';

type Name = Colour | 'bg' | 'raised' | 'sunken' | 'line' | 'text' | 'accent' | 'accent-text' | 'good-soft' | 'bad-soft' | 'back-soft' | 'busy-soft' | 'talk-soft';
export type Palette = Record<Name, string>;

const NAMES: Name[] = [
  'good', 'bad', 'back', 'busy', 'talk', 'dim', 'bg', 'raised', 'sunken', 'line', 'text', 'accent', 'accent-text', 'good-soft', 'bad-soft', 'back-soft',
  'busy-soft', 'talk-soft',
];

/** The page's colours as they are now, light or dark: a canvas knows no `var(…)`. */
export function palette(near: HTMLElement): Palette {
  const probe = near.appendChild(document.createElement('i'));
  const found = {} as Palette;
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

export interface Scene {
  layout: Layout;
  scale: Scale;
  ticks: Tick[];
  width: number;
  height: number;
  /** How far the lanes are scrolled. */
  scrolled: number;
  now: number;
  /** Keys of the shapes under the pointer, with the focus, and opened. */
  lit: string | null;
  focused: string | null;
  opened: string | null;
  /** Where the pointer is, and the point in time that is opened. */
  pointer: number | null;
  chosen: number | null;
  palette: Palette;
}

const FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif";
const font = (size: number, weight = 400) => `${weight} ${size}px ${FONT}`;
/** The height of the axis. */
export const AXIS = 30;

export function draw(ctx: CanvasRenderingContext2D, scene: Scene): void {
  const { layout, scale, palette: colours, width, height, scrolled } = scene;
  ctx.clearRect(0, 0, width, height);
  ctx.save();
  ctx.translate(0, -scrolled);
  const seen = (y: number, h: number) => y + h >= scrolled && y <= scrolled + height;
  layout.rows.forEach((row, index) => { if (seen(row.y, row.height)) lane(ctx, scene, row, index); });
  ctx.restore();

  ctx.save();
  ctx.beginPath();
  ctx.rect(scale.left, 0, scale.right - scale.left, height);
  ctx.clip();
  grid(ctx, scene);
  ctx.translate(0, -scrolled);
  const at = layout.shapes.find((shape) => shape.key === (scene.lit ?? scene.opened ?? scene.focused));
  const thread = at ? threads(at) : new Set<string>();
  for (const arrow of layout.arrows) back(ctx, arrow, colours, arrow.key === at?.key);
  for (const shape of layout.shapes) {
    if (!seen(shape.y, shape.h) || shape.x > scale.right || shape.x + shape.w < scale.left) continue;
    ctx.globalAlpha = thread.size > 0 && shape !== at && ![...threads(shape)].some((one) => thread.has(one)) ? 0.35 : 1;
    if (shape.is === 'span') talk(ctx, shape, scene);
    else if (shape.is === 'bucket') bar(ctx, shape, colours);
    else mark(ctx, shape, scene);
    ctx.globalAlpha = 1;
    if ([scene.lit, scene.focused, scene.opened].includes(shape.key)) ring(ctx, shape, colours, shape.key === scene.focused || shape.key === scene.opened);
  }
  ctx.restore();
  if (scale.names === 'above') names(ctx, scene);
  axis(ctx, scene);
}

function lane(ctx: CanvasRenderingContext2D, { palette: colours, width, scale }: Scene, row: Row, index: number): void {
  if (index % 2 === 1) {
    ctx.globalAlpha = 0.5;
    ctx.fillStyle = colours.sunken;
    ctx.fillRect(0, row.y, width, row.height);
    ctx.globalAlpha = 1;
  }
  ctx.fillStyle = colours.line;
  ctx.fillRect(0, row.y + row.height - 1, width, 1);
  if (scale.names === 'above') return;
  ctx.font = font(13, row.key === FLEET ? 400 : 600);
  ctx.fillStyle = row.key === FLEET ? colours.dim : colours.text;
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  ctx.fillText(cut(ctx, row.name, scale.left - 24), 14, row.y + row.height / 2);
}

/** On a narrow screen the lanes' names lie over what is in them. */
function names(ctx: CanvasRenderingContext2D, { layout, palette: colours, scrolled, width }: Scene): void {
  ctx.save();
  ctx.translate(0, -scrolled);
  ctx.font = font(11.5, 600);
  ctx.textBaseline = 'top';
  ctx.textAlign = 'left';
  for (const row of layout.rows) {
    ctx.fillStyle = row.key === FLEET ? colours.dim : colours.text;
    ctx.fillText(cut(ctx, row.name, width - 20), 8, row.y + 5);
  }
  ctx.restore();
}

function grid(ctx: CanvasRenderingContext2D, { ticks, scale, palette: colours, height, now, pointer, chosen }: Scene): void {
  for (const tick of ticks) {
    ctx.fillStyle = colours.line;
    ctx.globalAlpha = tick.strong ? 1 : 0.55;
    ctx.fillRect(Math.round(place(scale, tick.at)), AXIS, 1, height);
  }
  ctx.globalAlpha = 1;
  const at = place(scale, now);
  if (at <= scale.right + 1) {
    ctx.fillStyle = colours.sunken;
    ctx.globalAlpha = 0.7;
    ctx.fillRect(at, AXIS, scale.right - at, height);
    ctx.globalAlpha = 1;
    ctx.fillStyle = colours.accent;
    ctx.fillRect(Math.round(at) - 1, AXIS, 2, height);
  }
  for (const [x, colour] of [[pointer, colours.dim], [chosen === null ? null : place(scale, chosen), colours.back]] as const) {
    if (x === null) continue;
    ctx.strokeStyle = colour;
    ctx.setLineDash([4, 3]);
    ctx.beginPath();
    ctx.moveTo(Math.round(x) + 0.5, AXIS);
    ctx.lineTo(Math.round(x) + 0.5, height);
    ctx.stroke();
    ctx.setLineDash([]);
  }
}

function axis(ctx: CanvasRenderingContext2D, { ticks, scale, palette: colours, width }: Scene): void {
  ctx.fillStyle = colours.raised;
  ctx.fillRect(0, 0, width, AXIS);
  ctx.fillStyle = colours.line;
  ctx.fillRect(0, AXIS - 1, width, 1);
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  let free = scale.left;
  for (const tick of ticks) {
    const x = place(scale, tick.at);
    ctx.font = font(11.5, tick.strong ? 600 : 400);
    ctx.fillStyle = tick.strong ? colours.text : colours.dim;
    const room = ctx.measureText(tick.label).width;
    if (x + 4 < free || x + 5 + room > width) continue;
    ctx.fillText(tick.label, x + 5, AXIS / 2);
    ctx.fillRect(Math.round(x), AXIS - 7, 1, 6);
    free = x + room + 14;
  }
}

function talk(ctx: CanvasRenderingContext2D, shape: Shape & { is: 'span' }, { palette: colours, scale }: Scene): void {
  const { item, x, y, w, h } = shape;
  const { title } = item;
  const undone = item.state === 'undone';
  ctx.beginPath();
  ctx.roundRect(x, y, w, h, 4);
  ctx.fillStyle = colours['talk-soft'];
  ctx.fill();
  ctx.strokeStyle = colours.talk;
  ctx.lineWidth = 1;
  if (undone) ctx.setLineDash([3, 2]);
  ctx.stroke();
  ctx.setLineDash([]);
  // What begins left of the window is named at its edge.
  const from = Math.max(x, scale.left);
  const inside = x + w - from - 10;
  ctx.font = font(11.5);
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  const whole = ctx.measureText(title).width;
  const after = Math.max(x + w + 5, scale.left + 6);
  const beside = x + shape.room - after;
  const outside = whole > inside && beside > inside && beside > 36;
  const room = outside ? beside : inside;
  if (room < 22) return;
  ctx.fillStyle = outside ? colours.dim : colours.text;
  const text = cut(ctx, title, room);
  const at = outside ? after : from + 6;
  ctx.fillText(text, at, y + h / 2 + 0.5);
  if (undone) ctx.fillRect(at, y + h / 2, ctx.measureText(text).width, 1);
}

function bar(ctx: CanvasRenderingContext2D, { x, y, w, h, fill, failed: bad }: Shape & { is: 'bucket' }, colours: Palette): void {
  const bottom = y + h - 3;
  ctx.fillStyle = colours.good;
  ctx.globalAlpha *= 0.75;
  ctx.fillRect(x, bottom - fill, w, fill - bad);
  ctx.globalAlpha /= 0.75;
  ctx.fillStyle = colours.bad;
  ctx.fillRect(x, bottom - bad, w, bad);
}

function mark(ctx: CanvasRenderingContext2D, { items, x, y, w, h }: Shape & { is: 'mark' }, { palette: colours, scale }: Scene): void {
  const [first] = items;
  if (!first) return;
  // As long as it took, where the window is narrow enough to show that.
  const over = place(scale, Math.max(...items.map((item) => item.to ?? item.from)));
  if (over > x + w) {
    ctx.fillStyle = colours[looks(worst(items)).colour];
    ctx.globalAlpha *= 0.4;
    ctx.fillRect(x + w, y + h / 2 - 2, over - x - w, 4);
    ctx.globalAlpha /= 0.4;
  }
  const alike = items.every((item) => looks(item).sign === looks(first).sign);
  const { colour, sign } = looks(worst(items));
  ctx.beginPath();
  if (first.kind === 'commit' && items.length === 1) {
    diamond(ctx, x + w / 2, y + h / 2, h / 2);
    ctx.fillStyle = colours[colour];
    ctx.fill();
    return;
  }
  ctx.roundRect(x, y, w, h, h / 2);
  ctx.fillStyle = colours[soft(colour)];
  ctx.fill();
  const bad = items.filter(failed).length;
  if (items.length > 1 && bad > 0 && bad < items.length) {
    ctx.save();
    ctx.clip();
    ctx.fillStyle = colours.bad;
    ctx.globalAlpha *= 0.5;
    const share = Math.max(4, (w * bad) / items.length);
    ctx.fillRect(x + w - share, y, share, h);
    ctx.restore();
  }
  ctx.strokeStyle = colours[colour];
  ctx.lineWidth = 1.2;
  ctx.stroke();
  ctx.fillStyle = colours[colour];
  ctx.textAlign = 'center';
  ctx.textBaseline = 'middle';
  ctx.font = font(items.length > 1 ? 10.5 : 10, 700);
  const text = items.length === 1 ? sign : `${alike && items.length < 100 ? sign : ''}${items.length}`;
  ctx.fillText(text, x + w / 2, y + h / 2 + 0.5);
  ctx.textAlign = 'left';
}

const soft = (colour: Colour): Name => (colour === 'dim' ? 'sunken' : `${colour}-soft`);

const RANK: Colour[] = ['bad', 'back', 'busy', 'talk', 'good', 'dim'];
const worst = <T extends GraphItem>(items: T[]): T =>
  items.reduce((found, item) => (RANK.indexOf(looks(item).colour) < RANK.indexOf(looks(found).colour) ? item : found));

function diamond(ctx: CanvasRenderingContext2D, x: number, y: number, r: number): void {
  ctx.moveTo(x, y - r * 0.8);
  ctx.lineTo(x + r * 0.8, y);
  ctx.lineTo(x, y + r * 0.8);
  ctx.lineTo(x - r * 0.8, y);
  ctx.closePath();
}

function ring(ctx: CanvasRenderingContext2D, { x, y, w, h, is }: Shape, colours: Palette, strong: boolean): void {
  ctx.beginPath();
  ctx.roundRect(x - 3, y - 3, w + 6, h + 6, is === 'mark' ? (h + 6) / 2 : 6);
  ctx.strokeStyle = strong ? colours.accent : colours.dim;
  ctx.lineWidth = strong ? 2 : 1;
  ctx.stroke();
}

function back(ctx: CanvasRenderingContext2D, { from, to }: Arrow, colours: Palette, lit: boolean): void {
  const [x1, y1] = from;
  const [x2, y2] = to;
  ctx.globalAlpha = lit ? 1 : 0.55;
  ctx.strokeStyle = colours.back;
  ctx.fillStyle = colours.back;
  ctx.lineWidth = lit ? 2 : 1.2;
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.bezierCurveTo(x1, y2, (x1 + x2) / 2, y2, x2 + 6, y2);
  ctx.stroke();
  ctx.beginPath();
  ctx.moveTo(x2, y2);
  ctx.lineTo(x2 + 7, y2 - 4);
  ctx.lineTo(x2 + 7, y2 + 4);
  ctx.fill();
  ctx.globalAlpha = 1;
}

const widths = new Map<string, string>();

/** A text that fits, with a mark where it was cut. */
function cut(ctx: CanvasRenderingContext2D, text: string, room: number): string {
  const key = `${ctx.font}|${Math.floor(room)}|${text}`;
  const known = widths.get(key);
  if (known !== undefined) return known;
  let fits = text;
  if (ctx.measureText(text).width > room) {
    let low = 0;
    let high = text.length;
    while (low < high) {
      const half = Math.ceil((low + high) / 2);
      if (ctx.measureText(`${text.slice(0, half)}…`).width <= room) low = half;
      else high = half - 1;
    }
    fits = `${text.slice(0, low).trimEnd()}…`;
  }
  if (widths.size > 5000) widths.clear();
  widths.set(key, fits);
  return fits;
}
