// What an undo takes back, in words; and the conflicts of one, block by block.
import type { Selector, UndoScope } from './api';
import { short, shortId } from './words';

export function selected(selector: Selector): string {
  switch (selector.select) {
    case 'conversation': return `${selector.meaning === 'before' ? 'to before' : 'of what was changed by'} conversation …${shortId(selector.conversation)}`;
    case 'time': return `to ${new Date(selector.to).toLocaleString()}${selector.exact ? ', each node exactly' : ''}`;
    case 'commit': return `to commit ${short(selector.to)}`;
    case 'deployment': return `of deployment …${shortId(selector.deployment)}`;
    case 'last': return 'of the last change';
    case 'undo': return `of undo …${shortId(selector.undo)}`;
  }
}

export function forWhom(scope: UndoScope): string {
  const parts = [scope.nodes ? `nodes ${scope.nodes}` : '', scope.stack ? `stack ${scope.stack}` : ''].filter(Boolean);
  return parts.length > 0 ? `only ${parts.join(', ')}` : 'everyone';
}

/** A part of a file with conflict markers: lines that are settled, or two sides of which one must be chosen. */
export type Part = { kind: 'same'; text: string } | { kind: 'conflict'; now: string; before: string };

const STARTS = /^<{7} /;
const MIDDLE = /^={7}$/;
const ENDS = /^>{7} /;
/** What stands for a side that does not have the file. */
const ABSENT = '(not there)\n';
/** What stands for a side that cannot be shown, and so not be taken as text. */
const UNSHOWN = /^\((not text|too large|mode)[ ,].*\)\n$/;

/** Whether the hub would refuse this text because of markers. */
export function hasMarkers(text: string): boolean {
  const lines = text.split('\n');
  return lines.some((line) => STARTS.test(line)) && lines.some((line) => ENDS.test(line));
}

/** Takes a file with conflict markers apart. */
export function parts(text: string): Part[] {
  const found: Part[] = [];
  let same = '';
  let conflict: { now: string; before: string; second: boolean } | null = null;
  for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
    const bare = line.replace(/\r?\n$/, '');
    if (!conflict) {
      if (STARTS.test(bare)) {
        if (same) found.push({ kind: 'same', text: same });
        same = '';
        conflict = { now: '', before: '', second: false };
      } else same += line;
    } else if (!conflict.second && MIDDLE.test(bare)) conflict.second = true;
    else if (ENDS.test(bare)) {
      found.push({ kind: 'conflict', now: conflict.now, before: conflict.before });
      conflict = null;
    } else if (conflict.second) conflict.before += line;
    else conflict.now += line;
  }
  if (same) found.push({ kind: 'same', text: same });
  return found;
}

/** The file with one side taken in every conflict: its text, null for no file, undefined when it cannot be had as text. */
export function taking(text: string, which: 'now' | 'before'): string | null | undefined {
  const found = parts(text);
  const [only] = found;
  if (found.length === 1 && only?.kind === 'conflict') {
    if (only[which] === ABSENT) return null;
    if (UNSHOWN.test(only[which])) return undefined;
  }
  return found.map((part) => (part.kind === 'same' ? part.text : part[which])).join('');
}
