// Every view of the page, by the address at which it opens on a stage.
import { expect, type Page } from '@playwright/test';

import type { components } from '../src/lib/api.gen';
import type { Stage } from './stage';

type Schemas = components['schemas'];
interface List<T> { items: T[] }

export const NAMES = [
  'overview', 'timeline', 'conversations', 'conversation', 'nodes', 'node', 'agents', 'drift', 'stacks', 'stack', 'rollouts', 'rollout', 'release', 'deployment',
  'limits', 'backups', 'migrations', 'undos', 'undo', 'why', 'welcome', 'repositories', 'webhooks', 'tokens', 'users', 'account',
] as const;

/** The views with things that are there after the demonstration. */
export async function addresses(stage: Stage): Promise<Record<(typeof NAMES)[number], string>> {
  const [conversations, deployments, undos, releases, rollouts] = await Promise.all([
    stage.get<List<Schemas['ConversationView']>>('/api/v1/conversations'),
    stage.get<List<Schemas['DeploymentView']>>('/api/v1/deployments'),
    stage.get<List<Schemas['Undo']>>('/api/v1/undos'),
    stage.get<List<Schemas['ReleaseView']>>('/api/v1/stacks/page/releases'),
    stage.get<List<Schemas['RolloutView']>>('/api/v1/rollouts'),
  ]);
  const back = deployments.items.find((one) => one.state.state === 'rolled_back');
  return {
    overview: '/',
    timeline: '/timeline?span=1h',
    conversations: '/conversations',
    conversation: `/conversations/${first(conversations.items).id}`,
    nodes: '/nodes',
    node: '/nodes/web-2',
    agents: '/agents',
    drift: '/drift',
    stacks: '/stacks',
    stack: '/stacks/page',
    release: `/releases/${first(releases.items).id}`,
    rollouts: '/rollouts',
    rollout: `/rollouts/${first(rollouts.items).id}`,
    deployment: `/deployments/${(back ?? first(deployments.items)).id}`,
    limits: '/limits',
    backups: '/backups',
    migrations: '/migrations',
    undos: '/undos',
    undo: `/undos/${first(undos.items).id}`,
    why: '/why?node=web-1&stack=page&file=page.conf',
    welcome: '/welcome',
    repositories: '/settings/repositories',
    webhooks: '/settings/webhooks',
    tokens: '/settings/tokens',
    users: '/settings/users',
    account: '/settings/account',
  };
}

function first<T>(items: T[]): T {
  const [item] = items;
  if (item === undefined) throw new Error('the demonstration left none');
  return item;
}

/** Says yes to what is asked, with a reason. */
export async function agree(page: Page, yes: string, reason?: string): Promise<void> {
  const dialog = page.getByRole('dialog');
  if (reason) await dialog.getByLabel(/^why/i).fill(reason);
  await dialog.getByRole('button', { name: yes }).click();
  await expect(dialog).toHaveCount(0);
}
