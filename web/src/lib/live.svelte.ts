// What happens, as the hub tells it by server-sent events. Views that show it are woken; `load` does that for them.
import { asOf, get, type DatabaseState, type Entry, type Hello, type NodesChanged, type Session, type Touched } from './api';

/** Where the stream stands. `stale`: what the page shows may be old, since `since`; it is being tried again. */
export const live = $state<{
  state: 'connecting' | 'live' | 'stale';
  since: number;
  /** Position of the newest ledger entry that was told. */
  seq: number;
  /** Whether the hub runs another version than the one that this page came from. */
  outdated: boolean;
  /** Of when the hub's answers are while its database is away. */
  asOf: string | null;
}>({ state: 'connecting', since: Date.now(), seq: 0, outdated: false, asOf: null });

export interface Heard {
  /** Ledger entries, as they are sealed. */
  entry: Entry;
  /** Nodes whose state or health changed; `more` when not all are named. */
  nodes: NodesChanged;
  /** Deployments and conversations of which more is known now. */
  touched: Touched;
  /** More happened than was told: read anew, unless it is as new as `seq` and `everything` is false. */
  reset: { seq: number; everything: boolean };
}
type Hearer<K extends keyof Heard> = (message: Heard[K]) => void;
const hearers: { [K in keyof Heard]: Set<Hearer<K>> } = { entry: new Set(), nodes: new Set(), touched: new Set(), reset: new Set() };

/** Calls back with each message of a kind until told to stop: `$effect(() => hear('nodes', …))`. */
export function hear<K extends keyof Heard>(kind: K, hearer: Hearer<K>): () => void {
  hearers[kind].add(hearer);
  return () => hearers[kind].delete(hearer);
}

function tell<K extends keyof Heard>(kind: K, message: Heard[K]): void {
  for (const hearer of [...hearers[kind]]) hearer(message);
}

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;
/** A hidden page lets go of the stream after this time, so that many open tabs cost the hub nothing. */
const HIDDEN = 60_000;
/** How often it asks whether the hub's database is back. */
const AWAY = 3000;
/** So long without a word, it asks whether the hub is still there. */
const SILENCE = 40_000;

/** Follows what happens until told to stop. */
export function follow(): () => void {
  let source: EventSource | null = null;
  let pause = FIRST_PAUSE;
  let again: ReturnType<typeof setTimeout> | undefined;
  let hide: ReturnType<typeof setTimeout> | undefined;
  let heardAt = Date.now();
  let version = '';
  let hidden = false;

  const stale = () => {
    if (live.state === 'stale') return;
    live.state = 'stale';
    live.since = heardAt;
  };
  const close = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };
  const retry = () => {
    close();
    stale();
    again = setTimeout(() => void open(), pause);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  };
  const greet = (hello: Hello) => {
    live.outdated ||= version !== '' && version !== hello.version;
    version ||= hello.version;
    pause = FIRST_PAUSE;
    const missed = live.seq === 0 || hello.seq < live.seq;
    const was = live.state;
    live.state = 'live';
    live.since = Date.now();
    if (missed) live.seq = hello.seq;
    // The entries that were missed come now. Facts that are in no entry do not: hence everything anew.
    if (missed || hidden || was === 'stale') tell('reset', { seq: hello.seq, everything: hidden || was === 'stale' });
    hidden = false;
  };

  async function open(): Promise<void> {
    close();
    if (live.state === 'stale') {
      // An event stream does not say why it failed. This does: away, or signed out.
      const session = await get<Session>('/api/v1/session').catch(() => null);
      if (!session) return retry();
      if (!session.signed_in) return void window.dispatchEvent(new Event('signed-out'));
    }
    const opened = new EventSource(`/api/v1/events${live.seq ? `?after=${live.seq}` : ''}`);
    source = opened;
    const on = <T>(name: string, then: (data: T) => void) =>
      opened.addEventListener(name, (event) => {
        heardAt = Date.now();
        then(JSON.parse((event as MessageEvent<string>).data) as T);
      });
    on<Hello>('hello', greet);
    on<Hello>('reset', ({ seq }) => {
      live.seq = seq;
      tell('reset', { seq, everything: true });
    });
    on<Entry>('entry', (entry) => {
      if (entry.seq <= live.seq) return;
      live.seq = entry.seq;
      tell('entry', entry);
    });
    on<NodesChanged>('nodes', (message) => tell('nodes', message));
    on<Touched>('touched', (message) => tell('touched', message));
    on<DatabaseState>('database', ({ away_since }) => (away_since ? isAway(asOf() ?? away_since) : look()));
    // The browser's own retrying is not used: it gives up at the first answer that is not a stream.
    opened.onerror = retry;
  }

  const shown = () => {
    clearTimeout(hide);
    if (document.hidden) {
      hide = setTimeout(() => {
        hidden = true;
        close();
      }, HIDDEN);
    } else if (!source) void open();
  };
  const away = () => retry();
  const back = () => {
    pause = FIRST_PAUSE;
    void open();
  };
  const probe = setInterval(async () => {
    if (!source || Date.now() - heardAt < SILENCE) return;
    const answer = await get<Session>('/api/v1/session', {}, AbortSignal.timeout(8000)).catch(() => null);
    if (answer) heardAt = Date.now();
    else if (source) retry();
  }, SILENCE / 2);

  let database: ReturnType<typeof setInterval> | undefined;
  const look = () => void get<Session>('/api/v1/session').then(() => isAway(asOf())).catch(() => null);
  const isAway = (since: string | null) => {
    const was = live.asOf;
    live.asOf = since;
    if ((was === null) === (since === null)) return;
    clearInterval(database);
    if (since) database = setInterval(look, AWAY);
    else tell('reset', { seq: live.seq, everything: true });
  };
  const aged = () => isAway(asOf());
  aged();

  window.addEventListener('as-of', aged);
  document.addEventListener('visibilitychange', shown);
  window.addEventListener('offline', away);
  window.addEventListener('online', back);
  void open();
  return () => {
    close();
    clearTimeout(hide);
    clearInterval(probe);
    clearInterval(database);
    window.removeEventListener('as-of', aged);
    document.removeEventListener('visibilitychange', shown);
    window.removeEventListener('offline', away);
    window.removeEventListener('online', back);
    live.state = 'connecting';
    live.seq = 0;
  };
}
