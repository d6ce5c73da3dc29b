// How the states of things look, and their figures in words.

/** A sign and a class of colour for each word that the hub has for a state. Never colour alone. */
export const LOOKS: Record<string, readonly [sign: string, kind: string]> = {
  online: ['●', 'good'], offline: ['○', 'bad'], joined: ['◌', 'busy'], unknown: ['?', 'back'], revoked: ['–', 'dim'],
  healthy: ['●', 'good'], deploying: ['◐', 'busy'], degraded: ['◐', 'back'], down: ['○', 'bad'],
  pending: ['◌', 'dim'], running: ['…', 'busy'], succeeded: ['✓', 'good'], rolled_back: ['↩', 'back'], failed: ['✕', 'bad'],
  broken: ['✕', 'bad'], superseded: ['–', 'dim'], halted: ['✕', 'bad'],
  planned: ['◌', 'dim'], conflicted: ['✕', 'bad'], rolling_out: ['…', 'busy'], verified: ['✓', 'good'],
  new: ['◌', 'busy'], ok: ['✓', 'good'], unreachable: ['✕', 'bad'], invalid: ['✕', 'bad'], rewritten: ['✕', 'back'],
  eligible: ['✓', 'good'], held: ['‖', 'back'], banned: ['✕', 'bad'],
  done: ['✓', 'good'], skipped: ['–', 'dim'], queued: ['◌', 'dim'], partly: ['!', 'bad'], cancelled: ['–', 'dim'],
  good: ['✓', 'good'], damaged: ['✕', 'bad'], full: ['!', 'bad'], late: ['!', 'back'], unproven: ['?', 'back'], never: ['!', 'back'], nothing: ['–', 'dim'],
};

export const NODE_STATES = ['online', 'offline', 'joined', 'unknown', 'revoked'] as const;
export const ROLLOUT_STATES = ['running', 'succeeded', 'halted', 'superseded'] as const;
export const HEALTHS = ['healthy', 'deploying', 'degraded', 'down', 'unknown'] as const;

/** What is out of the ordinary about a node: its sign, its colour, its word. */
export const MARKS: Record<string, readonly [sign: string, kind: string, word: string]> = {
  safe_mode: ['▲', 'bad', 'safe mode'], drift: ['≠', 'back', 'drift'], maintenance: ['⚒', 'back', 'maintenance'],
  updates_off: ['⊘', 'back', 'updates off'], pinned: ['⚲', 'back', 'pinned'], following: ['⎇', 'back', 'follows a branch'], frozen: ['❄', 'back', 'frozen'], decommissioning: ['⏏', 'back', 'leaves the fleet'],
};

/** What a state means, where the word alone does not say. */
export const MEANS: Record<string, string> = {
  joined: 'it joined and has not been heard from yet',
  unknown: 'the hub started too recently to say',
  offline: 'it has not been heard from; what it runs keeps running',
  revoked: 'its credential was taken away; what it runs keeps running',
  rolled_back: 'the release failed and the node is back on what it ran before',
  failed: 'the release failed before anything was switched; what ran still runs',
  broken: 'the release failed and so did the way back: the node needs a person',
  superseded: 'something newer was planned before it ended',
  pending: 'planned; the agent has not begun',
  halted: 'it ended before every node had it',
  held: 'it contains a change that is held back',
  banned: 'its tree is not planned for this stack any more',
};

/** What about a machine someone should look at. */
export const CONDITIONS: Record<string, string> = {
  disk_over80: 'the disk is over 80 % full',
  disk_over90: 'the disk is over 90 % full',
  inodes_over90: 'over 90 % of the inodes are used',
  memory_under10: 'less than 10 % of the memory is free',
  load_high: 'the load is over twice the number of processors',
  over70_degrees: 'it is hotter than 70 °C',
  over80_degrees: 'it is hotter than 80 °C',
  under_voltage: 'the supply voltage is too low',
  throttled: 'the machine slows itself down',
  clock_off: 'its clock is wrong',
};

export const said = (word: string): string => word.replaceAll('_', ' ');

/** A duration in milliseconds, for people. */
export function duration(millis: number): string {
  if (millis < 1000) return `${Math.round(millis)} ms`;
  const seconds = millis / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  const and = (rest: number, unit: string) => (rest ? ` ${rest} ${unit}` : '');
  if (minutes < 60) return `${minutes} min${and(Math.floor(seconds % 60), 's')}`;
  return `${Math.floor(minutes / 60)} h${and(minutes % 60, 'min')}`;
}

/** A size in bytes, for people. */
export function bytes(size: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size.toFixed(unit === 0 || size >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** Milliseconds between two times; up to now while the second is absent. */
export const between = (from: string, until: string | null | undefined, now = Date.now()): number =>
  Math.max(0, (until ? Date.parse(until) : now) - Date.parse(from));

/** For a name or id within an address. */
export const enc = encodeURIComponent;
