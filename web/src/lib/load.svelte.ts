// Loading for a view: again when its question changes, and when something was recorded, at most once a second.
import { live } from './state.svelte';

export interface Loaded<T> { data: T | null; error: Error | null }

const REST = 1000;

/** Answers `ask`, and keeps the answer fresh for as long as the view is there. */
export function load<T>(ask: () => (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const loaded = $state<Loaded<T>>({ data: null, error: null });
  let last = 0;
  let asked: unknown = null;
  $effect(() => {
    const question = ask();
    void live.seq;
    void live.state;
    const key = question.toString() + JSON.stringify(location.hash);
    if (key !== asked) {
      asked = key;
      loaded.data = null;
      last = 0;
    }
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      last = Date.now();
      try {
        loaded.data = await question(stop.signal);
        loaded.error = null;
      } catch (error) {
        if (!stop.signal.aborted) loaded.error = error instanceof Error ? error : new Error(String(error));
      }
    }, Math.max(0, last + REST - Date.now()));
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  });
  return loaded;
}
