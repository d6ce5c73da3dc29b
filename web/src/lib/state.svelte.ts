// What every view shares: who is signed in, and where one is. What happens meanwhile is in `live.svelte.ts`.
import type { Session } from './api';

export { hear, live } from './live.svelte';

export const session = $state<{ view: Session | null }>({ view: null });

const RANK: Record<string, number> = { viewer: 1, operator: 2, admin: 3 };
/** Whether the one who is signed in may do what a role may. The hub decides; this only spares a refusal. */
export const can = (role: 'viewer' | 'operator' | 'admin'): boolean =>
  (RANK[session.view?.role ?? ''] ?? 0) >= (RANK[role] ?? 9);

/** Where one is: the parts of the path behind `#/`, and what stands behind `?`. */
export const route = $state<{ parts: string[]; query: URLSearchParams }>({ parts: [], query: new URLSearchParams() });

function read(): void {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map(decoded);
  // A filter that changes is not another place: what depends on the path alone is left in peace.
  if (parts.join('/') !== route.parts.join('/')) route.parts = parts;
  if (query !== route.query.toString()) route.query = new URLSearchParams(query);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** From now on, `route` is where one is. */
export function followAddress(): void {
  read();
  window.addEventListener('hashchange', read);
}

/** Changes what stands behind `?`: empty values go. As a step that "back" undoes, unless `quiet`. */
export function ask(changes: Record<string, string | null | undefined>, quiet = false): void {
  const query = new URLSearchParams(route.query);
  for (const [key, value] of Object.entries(changes)) {
    if (value) query.set(key, value);
    else query.delete(key);
  }
  const hash = `#/${route.parts.map(encodeURIComponent).join('/')}${query.size ? `?${query}` : ''}`;
  if (hash === location.hash) return;
  if (quiet) history.replaceState(history.state, '', hash);
  else history.pushState(null, '', hash);
  read();
}

export type Theme = 'system' | 'light' | 'dark';
const THEMES: Theme[] = ['system', 'light', 'dark'];
const kept = localStorage.getItem('theme') as Theme | null;
export const look = $state<{ theme: Theme }>({ theme: kept && THEMES.includes(kept) ? kept : 'system' });

export function setTheme(theme: Theme): void {
  look.theme = theme;
  document.documentElement.dataset.theme = theme;
  localStorage.setItem('theme', theme);
}
