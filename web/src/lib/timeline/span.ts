// A window of time: in the address, on the axis, moved and stretched. Times are milliseconds since 1970.
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Widths that one asks for by a name. */
export const PRESETS: [name: string, width: number, words: string][] = [
  ['1h', HOUR, '1 h'], ['24h', DAY, '24 h'], ['7d', 7 * DAY, '7 d'], ['30d', 30 * DAY, '30 d'],
];
export const WIDTH_AT_FIRST = DAY;
const NARROWEST = 10 * SECOND;
const WIDEST = 400 * DAY;

/** `until` is null when the window ends now and goes on with it. */
export interface Span { width: number; until: number | null }

export const end = (span: Span, now: number): number => span.until ?? now;

/** What stands in the address: `span=24h`, or `since=…&until=…`. */
export function fromQuery(query: URLSearchParams): Span {
  const since = Date.parse(query.get('since') ?? '');
  const until = Date.parse(query.get('until') ?? '');
  if (since < until) return { width: clamp(until - since), until };
  const asked = query.get('span') ?? '';
  const preset = PRESETS.find(([name]) => name === asked);
  const seconds = /^(\d+)s$/.exec(asked);
  return { width: preset?.[1] ?? (seconds ? clamp(Number(seconds[1]) * SECOND) : WIDTH_AT_FIRST), until: null };
}

export function toQuery(span: Span): Record<'span' | 'since' | 'until', string | null> {
  if (span.until !== null) {
    return { span: null, since: new Date(span.until - span.width).toISOString(), until: new Date(span.until).toISOString() };
  }
  const preset = PRESETS.find(([, width]) => width === span.width)?.[0] ?? `${Math.round(span.width / SECOND)}s`;
  return { span: preset === '24h' ? null : preset, since: null, until: null };
}

const clamp = (width: number): number => Math.min(WIDEST, Math.max(NARROWEST, width));

/** Around what one zooms who points at nothing: what is new, as long as the window follows it. */
export const middle = (span: Span): number => (span.until === null ? 1 : 0.5);

/** Moves by a share of its width. What would lie in the future goes on with now instead. */
export const pan = (span: Span, share: number, now: number): Span => settle(span.width, end(span, now) + share * span.width, now);

/** Narrower (below 1) or wider around a point at a share of the width. Near its end, a window that ends now keeps doing so. */
export function zoom(span: Span, factor: number, around: number, now: number): Span {
  const width = clamp(span.width * factor);
  if (span.until === null && around > 0.9) return { width, until: null };
  const at = end(span, now) - span.width * (1 - around);
  return settle(width, at + width * (1 - around), now);
}

function settle(width: number, until: number, now: number): Span {
  // Within half a percent of now it follows.
  return until >= now - width * 0.005 ? { width, until: null } : { width, until };
}

const STEPS = [
  SECOND, 2 * SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR,
  6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 56 * DAY,
];

export interface Tick { at: number; label: string; strong: boolean }

/** Round times of the viewer's zone in a window, at most so many. */
export function ticks(since: number, until: number, most: number): Tick[] {
  const step = STEPS.find((one) => (until - since) / one <= most) ?? 56 * DAY;
  const found: Tick[] = [];
  const day = new Date(since);
  day.setHours(0, 0, 0, 0);
  const days = Math.max(1, Math.round(step / DAY));
  // From midnight to midnight, so that a day of 23 or 25 hours leaves the others round.
  if (days > 1) day.setDate(day.getDate() - (Math.floor(day.getTime() / DAY) % days));
  while (day.getTime() < until) {
    const next = new Date(day);
    next.setDate(next.getDate() + days);
    for (let at = day.getTime(); at < next.getTime(); at += step) {
      if (at >= since && at < until) found.push(tick(at, step, at === day.getTime()));
    }
    day.setTime(next.getTime());
  }
  return found;
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const two = (n: number) => String(n).padStart(2, '0');

// Not by `Intl.DateTimeFormat`: the first one that is made takes longer than the axis.
function date(at: number): string {
  const day = new Date(at);
  return `${DAYS[day.getDay()]} ${day.getDate()} ${MONTHS[day.getMonth()]}`;
}

function clock(at: number, seconds: boolean): string {
  const time = new Date(at);
  return `${two(time.getHours())}:${two(time.getMinutes())}${seconds ? `:${two(time.getSeconds())}` : ''}`;
}

function tick(at: number, step: number, midnight: boolean): Tick {
  if (midnight) return { at, label: date(at), strong: true };
  return { at, label: clock(at, step < MINUTE), strong: false };
}

/** A point on the axis in words, as exact as the window lets one point. */
export const pointed = (at: number, width: number): string =>
  `${date(at)} ${clock(at, width < 6 * HOUR)}`;

/** What was asked of the hub: somewhat more than the window, so that moving it a little needs no new answer. */
export interface Cover { since: number; until: number | null; width: number }

export function cover(span: Span, now: number): Cover {
  const until = end(span, now);
  const more = span.width / 4;
  return { since: until - span.width - more, until: span.until === null || until + more >= now ? null : until + more, width: span.width };
}

/** Whether the window lies within what was asked, counted about as finely as it should be. */
export function covers(asked: Cover, span: Span, now: number): boolean {
  const until = end(span, now);
  return asked.since <= until - span.width && (asked.until === null || asked.until >= Math.min(until, now)) && span.width > asked.width * 0.6 && span.width < asked.width * 1.6
    // A window that follows moves on by itself; what it leaves behind need not be kept for ever.
    && asked.since > until - 3 * span.width;
}
