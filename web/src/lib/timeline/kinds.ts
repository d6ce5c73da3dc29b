// The kinds of things on the axis: what people call them, their colour and their sign. Never colour alone.
import type { GraphItem, GraphKind } from '../api';

export type Colour = 'good' | 'bad' | 'back' | 'busy' | 'talk' | 'dim';

export const KINDS: [kind: GraphKind, name: string, sign: string, colour: Colour][] = [
  ['conversation', 'Conversations', '❝', 'talk'],
  ['commit', 'Commits', '◆', 'talk'],
  ['deployment', 'Deployments', '✓', 'good'],
  ['undo', 'Undos', '↩', 'back'],
  ['halt', 'Halts', '‖', 'bad'],
  ['drift', 'Drift', '≠', 'back'],
  ['constraint', 'Holds, pins, bans', '⊘', 'busy'],
  ['repository', 'Repositories', '⎇', 'dim'],
  ['node', 'Nodes', '+', 'dim'],
];
const BY_KIND = new Map(KINDS.map((kind) => [kind[0], kind]));

export const kindName = (kind: GraphKind): string => (kind === 'constraint' ? 'Hold, pin or ban' : (BY_KIND.get(kind)?.[1].replace(/ies$/, 'y').replace(/s$/, '') ?? kind));

/** Colour and sign of one thing, by how it stands. */
export function looks(item: GraphItem): { colour: Colour; sign: string } {
  const [, , sign = '·', colour = 'dim'] = BY_KIND.get(item.kind) ?? [];
  switch (item.kind) {
    case 'deployment':
      if (item.state === 'succeeded') return { colour: 'good', sign: '✓' };
      if (item.state === 'rolled_back') return { colour: 'back', sign: '↩' };
      if (failed(item)) return { colour: 'bad', sign: '✕' };
      return item.state === 'superseded' ? { colour: 'dim', sign: '–' } : { colour: 'busy', sign: '…' };
    case 'commit':
      return item.state === 'undo' ? { colour: 'back', sign: '◆' } : { colour, sign };
    case 'undo':
      return { colour: item.state === 'conflicted' || item.state === 'failed' ? 'bad' : 'back', sign };
    case 'repository':
      return { colour: item.state === 'ok' ? 'good' : item.state === 'new' ? 'dim' : 'bad', sign };
    case 'node':
      return item.state === 'revoked' ? { colour: 'dim', sign: '–' } : { colour, sign };
    default:
      return { colour, sign };
  }
}

/** Whether it did not come to what it was meant to. */
export const failed = (item: GraphItem): boolean => ['failed', 'broken', 'rolled_back'].includes(item.state);

/** How it stands, where its title does not say so. */
export function stands({ kind, state }: GraphItem): string {
  if (['node', 'constraint', 'repository', 'drift', 'halt'].includes(kind) || state === 'change') return '';
  return state.replaceAll('_', ' ');
}

/** The view that has all about it. */
export function address(item: GraphItem): string | null {
  const { refs } = item;
  const part = encodeURIComponent;
  switch (item.kind) {
    case 'conversation': return `#/conversations/${part(item.id)}`;
    case 'commit':
      return refs.conversation ? `#/conversations/${part(refs.conversation)}` : refs.undo ? `#/undos/${part(refs.undo)}` : null;
    case 'deployment': return `#/deployments/${part(item.id)}`;
    case 'undo': return `#/undos/${part(item.id)}`;
    case 'halt': return refs.rollout ? `#/rollouts/${part(refs.rollout)}` : refs.stack ? `#/stacks/${part(refs.stack)}` : null;
    case 'drift': case 'node': return refs.node ? `#/nodes/${part(refs.node)}` : null;
    case 'constraint': return refs.stack ? `#/stacks/${part(refs.stack)}` : null;
    case 'repository': return '#/settings/repositories';
  }
}

const OF_ENTRY: Record<string, GraphKind> = {
  conversation_opened: 'conversation', conversation_closed: 'conversation', change_seen: 'commit', change_linked: 'commit', deployment_started: 'deployment',
  deployment_finished: 'deployment', undo_requested: 'undo', undo_state_changed: 'undo', undo_pushed: 'undo', drift_reported: 'drift',
  constraint_set: 'constraint', constraint_lifted: 'constraint', repository_added: 'repository', repository_health_changed: 'repository', repository_warned: 'repository', node_joined: 'node',
  node_revoked: 'node',
};

/** The kind on the axis that a ledger entry belongs to. */
export const entryKind = (kind: string): GraphKind | undefined => OF_ENTRY[kind];
