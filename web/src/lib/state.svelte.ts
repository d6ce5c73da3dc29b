// What every view shares: who is signed in, where one is, and what happened last.
import { type Entry, type Page, type Session, get } from './api';

export const session = $state<{ view: Session | null }>({ view: null });

const RANK: Record<string, number> = { viewer: 1, operator: 2, admin: 3 };
/** Whether the one who is signed in may do what a role may. The hub decides; this only spares a refusal. */
export const can = (role: 'viewer' | 'operator' | 'admin'): boolean =>
  (RANK[session.view?.role ?? ''] ?? 0) >= (RANK[role] ?? 9);

/** Where one is: the parts of the path behind `#/`, and what stands behind `?`. */
export const route = $state<{ parts: string[]; query: URLSearchParams }>({ parts: [], query: new URLSearchParams() });

export function followAddress(): () => void {
  const read = () => {
    const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?');
    route.parts = path.split('/').filter(Boolean).map(decodeURIComponent);
    route.query = new URLSearchParams(query);
    window.scrollTo(0, 0);
  };
  read();
  window.addEventListener('hashchange', read);
  return () => window.removeEventListener('hashchange', read);
}

/** The ledger as it grows: its position wakes views that show what it records. */
export const live = $state<{ state: 'connecting' | 'live' | 'stale'; seq: number; since: number; latest: Entry[] }>({
  state: 'connecting', seq: 0, since: Date.now(), latest: [],
});

const KEPT = 200;

/** Follows the ledger until told to stop. Each request waits at the hub for the next entry. */
export function followLedger(): () => void {
  const stop = new AbortController();
  void (async () => {
    let pause = 500;
    while (!stop.signal.aborted) {
      try {
        if (live.seq === 0) {
          const newest = await get<Page<Entry>>('/api/v1/timeline', { limit: 50 }, stop.signal);
          live.latest = newest.items;
          live.seq = newest.items[0]?.seq ?? 0;
        } else if (live.state === 'stale') {
          // Away for a while: it is live again as soon as the hub answers, not only with the next entry.
          await get('/api/v1/session', {}, stop.signal);
        }
        if (live.state !== 'live') live.since = Date.now();
        live.state = 'live';
        const entries = await get<Page<Entry>>('/api/v1/timeline', { after: live.seq, wait_ms: 25_000, limit: 500 }, stop.signal);
        for (const entry of entries.items) {
          live.seq = Math.max(live.seq, entry.seq);
        }
        live.latest = [...entries.items.reverse(), ...live.latest].slice(0, KEPT);
        pause = 500;
      } catch {
        if (stop.signal.aborted) return;
        if (live.state === 'live') live.since = Date.now();
        live.state = 'stale';
        await new Promise((done) => setTimeout(done, pause));
        pause = Math.min(pause * 2, 10_000);
      }
    }
  })();
  return () => stop.abort();
}
