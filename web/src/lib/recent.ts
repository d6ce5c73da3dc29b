// What was gone to last by the palette, on this device alone.
export interface Recent { href: string; title: string; kind: string }

const KEY = 'recent';
const KEPT = 6;

export function recents(): Recent[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(kept) ? kept.filter((one: Partial<Recent>): one is Recent => typeof one?.href === 'string' && typeof one.title === 'string') : [];
  } catch {
    return [];
  }
}

export function remember(one: Recent): void {
  localStorage.setItem(KEY, JSON.stringify([one, ...recents().filter((other) => other.href !== one.href)].slice(0, KEPT)));
}

export const forget = (): void => localStorage.removeItem(KEY);
