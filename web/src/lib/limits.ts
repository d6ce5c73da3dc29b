// What limits the planning, in words; and how many nodes a selector reaches.
import { type Constraint, get, type NodeRows, type Window } from './api';
import { short } from './words';

export type Kind = Constraint['effect'];
/** Kinds of limits, those that keep most from happening first. */
export const LIMITS: Record<Kind, readonly [sign: string, name: string]> = {
  freeze: ['❄', 'Freeze'], maintenance: ['⚒', 'Maintenance'], updates_off: ['⊘', 'Updates off'], pin: ['⚲', 'Pin'], follow: ['⎇', 'Branch'], hold: ['‖', 'Hold'], ban: ['✕', 'Ban'], decommission: ['⏏', 'Decommission'],
  runs_not: ['⇥', 'Moved away'], runs_here: ['⇤', 'Moved here'],
};
export const KINDS = Object.keys(LIMITS) as Kind[];

/** What it does, without whom it concerns. */
export function does(one: Constraint): string {
  switch (one.effect) {
    case 'ban': return `version ${short(one.tree)} of ${one.stack} is not planned`;
    case 'hold': return `what contains commit ${short(one.commit)} without its undo is not planned`;
    case 'pin': return `${one.stack} stays on one release`;
    case 'follow': return `${one.stack} runs what branch ${one.branch} has, and no rollout of the deployed one moves it`;
    case 'freeze': return `nothing forward begins${one.stack ? ` of ${one.stack}` : ''}; undos go through`;
    case 'updates_off': return `nodes keep what they run${one.stack ? ` of ${one.stack}` : ''}`;
    case 'maintenance': return 'nodes keep what they run and count nowhere';
    case 'decommission': return 'what the node runs is taken away, then it is revoked; its data stays';
    case 'runs_here': return `${one.stack} runs there, whatever fleet.toml assigns: it was moved there`;
    case 'runs_not': return `${one.stack} does not run there, whatever fleet.toml assigns: it was moved away; its data stays`;
  }
}

/** Whether it is still to begin. */
export const begins = (one: Constraint, now = Date.now()): boolean => one.from !== null && one.from !== undefined && Date.parse(one.from) > now;

/** Those that keep most from happening first, and of one kind the newest. */
export const inOrder = (items: Constraint[]): Constraint[] =>
  [...items].sort((a, b) => KINDS.indexOf(a.effect) - KINDS.indexOf(b.effect) || b.created_at.localeCompare(a.created_at));

export interface Reach { nodes: number; names: string[] }

/** How many nodes a label selector matches that are still part of the fleet, and the first of them. */
export async function reach(selector: string, signal?: AbortSignal): Promise<Reach> {
  const ask = (state: string, limit: number) => get<NodeRows>('/api/v1/node-rows', { selector, state, limit }, signal);
  const [all, revoked] = await Promise.all([ask('', 6), ask('revoked', 1)]);
  return { nodes: all.total - revoked.total, names: all.rows.filter((row) => row.state !== 'revoked').map((row) => row.name) };
}

/** Those of the windows that are for a node. */
export async function windowsOf(node: string, windows: Window[], signal?: AbortSignal): Promise<Window[]> {
  const mine = await Promise.all(windows.map(async (one) => {
    const selector = one.selector ? `${one.selector},name=${node}` : `name=${node}`;
    return (await get<NodeRows>('/api/v1/node-rows', { selector, limit: 1 }, signal)).total > 0;
  }));
  return windows.filter((_, index) => mine[index]);
}
