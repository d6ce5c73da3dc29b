// Every view of the page, by the address at which it opens on a stage.
import type { components } from '../src/lib/api.gen';
import type { Stage } from './stage';

type Schemas = components['schemas'];
interface List<T> { items: T[] }

export const NAMES = [
  'overview', 'timeline', 'conversations', 'conversation', 'nodes', 'node', 'deployment', 'undos', 'undo',
] as const;

/** The views with things that are there after the demonstration. */
export async function addresses(stage: Stage): Promise<Record<(typeof NAMES)[number], string>> {
  const [conversations, deployments, undos] = await Promise.all([
    stage.get<List<Schemas['ConversationView']>>('/api/v1/conversations'),
    stage.get<List<Schemas['DeploymentView']>>('/api/v1/deployments'),
    stage.get<List<Schemas['Undo']>>('/api/v1/undos'),
  ]);
  const back = deployments.items.find((one) => one.state.state === 'rolled_back');
  return {
    overview: '/',
    timeline: '/timeline',
    conversations: '/conversations',
    conversation: `/conversations/${first(conversations.items).id}`,
    nodes: '/nodes',
    node: '/nodes/web-2',
    deployment: `/deployments/${(back ?? first(deployments.items)).id}`,
    undos: '/undos',
    undo: `/undos/${first(undos.items).id}`,
  };
}

function first<T>(items: T[]): T {
  const [item] = items;
  if (item === undefined) throw new Error('the demonstration left none');
  return item;
}
