// Stacks that move from node to node, in words.
import type { Entry, ItemCheck, Migration, MigrationStep, Passage } from '../api';
import { between, duration } from '../things';

/** The steps of a stack that moves, in their order, and what is done at each. */
const FORWARD: [MigrationStep, string][] = [
  ['copying', 'copied while it runs'], ['fetching', 'the copy is fetched while it runs'], ['stopping', 'stopped, and saved once more'],
  ['resting', 'its keys rest for two epochs'], ['starting', 'its data is put in place, it is started and probed'], ['switched', 'runs there, with data that is equal'],
];
/** Those of one that does not come to run there. */
const BACK: [MigrationStep, string][] = [
  ['going_back', 'nothing of it is left running there'], ['resuming', 'started where it was, with the data that stayed there'], ['stayed', 'stayed where it was'],
];

export interface Step { step: MigrationStep; says: string; state: 'done' | 'now' | 'ahead' }

/** The steps of a stack, and which of them are behind it. */
export function steps(one: Passage): Step[] {
  const back = BACK.some(([step]) => step === one.step);
  const way = back ? BACK : FORWARD.filter(([step]) => step !== 'resting' || one.double_sign);
  const at = way.findIndex(([step]) => step === one.step);
  const over = final(one);
  return way.map(([step, says], index) => ({ step, says, state: index < at || (index === at && over) ? 'done' : index === at ? 'now' : 'ahead' }));
}

export const final = (one: Passage): boolean => one.step === 'switched' || one.step === 'stayed';

/** Where a stack runs at a step. */
export function runsOn(of: Migration, one: Passage): string {
  switch (one.step) {
    case 'waiting': case 'copying': case 'fetching': case 'stayed': return of.from.name;
    case 'switched': return of.to.name;
    default: return `neither ${of.from.name} nor ${of.to.name} yet`;
  }
}

/** How long it ran nowhere; empty while it does, and where it never stopped. */
export const stood = (one: Passage): string => (one.stopped_at && one.started_at ? duration(between(one.stopped_at, one.started_at)) : '');

/** What came of comparing an item on both nodes: its sign, its colour, its words. */
export function compared({ from, to }: ItemCheck): readonly [sign: string, kind: string, words: string] {
  if (!from || !to) return ['–', 'dim', 'not compared'];
  return from === to ? ['✓', 'good', 'equal'] : ['✕', 'bad', 'not equal'];
}

/** Whether a ledger entry says something about a migration. */
export const concerns = ({ kind }: Entry): boolean => kind.startsWith('migration_');
