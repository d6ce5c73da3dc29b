// Loading for a view: when its question changes, and when something happened that concerns it.
import { type Entry, type NodesChanged, Problem, type Touched } from './api';
import { hear } from './live.svelte';

export interface Loaded<T> {
  readonly data: T | null;
  readonly error: Error | null;
  /** Whether an answer is awaited. */
  readonly busy: boolean;
  /** Asks again at once, such as after an action. */
  again: () => void;
}

/** What wakes a view. An answer is asked for again at most once in `rest`, and less often when answers take long. */
export interface Wake {
  /** Which ledger entries concern it; every one when absent. */
  entries?: (entry: Entry) => boolean;
  /** Which changes of nodes do; none when absent. */
  nodes?: (changed: NodesChanged) => boolean;
  /** Which touched deployments and conversations do; none when absent. */
  touched?: (touched: Touched) => boolean;
  /** Whether the answer to the question before stays until the next is there. */
  keep?: boolean;
  /** Milliseconds between two answers at least, where these cost the hub much; a second when absent. */
  rest?: number;
}

const RETRY = 5000;

/**
 * Answers the question that `ask` gives, and keeps the answer fresh while the view is there. `ask` is called again
 * when a state changes that it read.
 */
export function load<T>(ask: () => (signal: AbortSignal) => Promise<T>, wake: Wake = {}): Loaded<T> {
  let question: ((signal: AbortSignal) => Promise<T>) | null = null;
  let stop = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let due = Infinity;
  const least = wake.rest ?? 1000;
  let rest = 0;
  // As the hub gave it: an answer is replaced, never changed, and thousands of rows need no watching each.
  let data = $state.raw<T | null>(null);
  let error = $state.raw<Error | null>(null);
  let busy = $state(true);

  function plan(wait: number): void {
    const at = Math.max(Date.now() + wait, wait === 0 ? 0 : rest);
    if (at >= due) return;
    due = at;
    clearTimeout(timer);
    timer = setTimeout(() => void run(), Math.max(0, at - Date.now()));
  }

  async function run(): Promise<void> {
    due = Infinity;
    if (!question) return;
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    const began = Date.now();
    busy = true;
    rest = began + least;
    try {
      const answer = await question(signal);
      if (signal.aborted) return;
      data = answer;
      error = null;
    } catch (failed) {
      if (signal.aborted) return;
      error = failed instanceof Error ? failed : new Error(String(failed));
      if (!(failed instanceof Problem) || failed.status === 0 || failed.status >= 500) plan(RETRY);
    }
    busy = false;
    rest = Date.now() + Math.max(least, 3 * (Date.now() - began));
  }

  $effect(() => {
    question = ask();
    if (!wake.keep) data = null;
    error = null;
    due = Infinity;
    plan(0);
  });
  $effect(() => {
    const soon = () => plan(1);
    const off = [
      hear('reset', ({ seq, everything }) => {
        // An answer that names its position and was given later than that has nothing to catch up on.
        const known = (data as { seq?: number } | null)?.seq;
        if (everything || known === undefined || known < seq) soon();
      }),
      hear('entry', (entry) => { if (wake.entries?.(entry) ?? true) soon(); }),
      hear('nodes', (changed) => { if (wake.nodes?.(changed)) soon(); }),
      hear('touched', (touched) => { if (wake.touched?.(touched)) soon(); }),
    ];
    return () => {
      off.forEach((one) => one());
      clearTimeout(timer);
      stop.abort();
    };
  });
  return {
    get data() { return data; },
    get error() { return error; },
    get busy() { return busy; },
    again: () => plan(0),
  };
}
