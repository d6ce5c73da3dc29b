// Which part of the address shows which view. The first that people see comes with the program; each other view is a
// file of its own that is fetched when it is first shown.
import type { Component } from 'svelte';

export interface Route {
  /** The parts behind `#/`; one that begins with `:` becomes a prop of the view, with `?` it may be absent. */
  path: string;
  /** What people call it. */
  name: string;
  /** The file in `views/`. */
  view: string;
  /** The sign in the navigation; only what has one stands there. */
  icon?: string;
  /** The key behind `g` that goes there. */
  key?: string;
  /** Whether it stays when a prop changes; else it is made anew. */
  stays?: true;
  /** Whether it needs no room at the sides. */
  wide?: true;
}

export const ROUTES: Route[] = [
  { path: '', name: 'Overview', view: 'Overview', icon: 'overview', key: 'o' },
  { path: 'timeline', name: 'Timeline', view: 'Timeline', icon: 'timeline', key: 't', wide: true },
  { path: 'conversations', name: 'Conversations', view: 'Conversations', icon: 'conversations', key: 'c' },
  { path: 'conversations/:id', name: 'Conversation', view: 'Conversation' },
  { path: 'nodes', name: 'Nodes', view: 'Nodes', icon: 'nodes', key: 'n' },
  { path: 'nodes/:name', name: 'Node', view: 'Node' },
  { path: 'agents', name: 'Agents', view: 'Agents', key: 'a' },
  { path: 'drift', name: 'Drift', view: 'Drift', key: 'd' },
  { path: 'stacks', name: 'Stacks', view: 'Stacks', icon: 'stacks', key: 's' },
  { path: 'stacks/:name', name: 'Stack', view: 'Stack' },
  { path: 'rollouts', name: 'Rollouts', view: 'Rollouts', icon: 'rollout', key: 'r' },
  { path: 'rollouts/:id', name: 'Rollout', view: 'Rollout' },
  { path: 'undos', name: 'Undos', view: 'Undos', icon: 'undos', key: 'u' },
  { path: 'undos/:id', name: 'Undo', view: 'Undo' },
  { path: 'backups/snapshots/:id', name: 'Snapshot', view: 'Snapshot' },
  { path: 'backups/jobs/:id', name: 'Backup job', view: 'BackupJob' },
  { path: 'backups/:section?', name: 'Backups', view: 'Backups', icon: 'backup', key: 'b', stays: true },
  { path: 'migrations', name: 'Migrations', view: 'Migrations', key: 'm' },
  { path: 'migrations/:id', name: 'Migration', view: 'Migration' },
  { path: 'limits', name: 'Limits', view: 'Limits', icon: 'constraint', key: 'l' },
  { path: 'settings/:section?', name: 'Settings', view: 'Settings', icon: 'settings', key: ',', stays: true },
  { path: 'releases/:id', name: 'Release', view: 'Release' },
  { path: 'deployments/:id', name: 'Deployment', view: 'Deployment' },
  { path: 'why', name: 'Why', view: 'Why', key: 'y' },
  { path: 'welcome', name: 'Welcome', view: 'Welcome' },
];

/** What stands in the navigation. */
export const PLACES = ROUTES.filter((route) => route.icon);

export interface Match { route: Route; props: Record<string, string> }

/** The view for the parts of an address. */
export function match(parts: string[]): Match | null {
  for (const route of ROUTES) {
    const props = fits(route.path.split('/').filter(Boolean), parts);
    if (props) return { route, props };
  }
  return null;
}

function fits(path: string[], parts: string[]): Record<string, string> | null {
  if (parts.length > path.length) return null;
  const props: Record<string, string> = {};
  for (const [index, wanted] of path.entries()) {
    const part = parts[index];
    if (part === undefined) {
      if (!wanted.endsWith('?')) return null;
    } else if (wanted.startsWith(':')) props[wanted.slice(1).replace(/\?$/, '')] = part;
    else if (wanted !== part) return null;
  }
  return props;
}

type View = Component<Record<string, string>>;
const FIRST = import.meta.glob<View>('./views/Overview.svelte', { eager: true, import: 'default' });
const FILES = import.meta.glob<View>(['./views/*.svelte', '!./views/Overview.svelte'], { import: 'default' });

/** Fetches a view's file; null when this page has no such view. */
export async function view(route: Route): Promise<View | null> {
  const file = `./views/${route.view}.svelte`;
  return FIRST[file] ?? (await FILES[file]?.()) ?? null;
}

/** Fetches what is likely to be looked at next, once there is nothing else to do. */
export function warm(): void {
  const idle = window.requestIdleCallback ?? ((then: () => void) => setTimeout(then, 1500));
  // What is being looked at comes first.
  setTimeout(() => idle(() => ROUTES.forEach((route) => void view(route).catch(() => undefined))), 1000);
}
