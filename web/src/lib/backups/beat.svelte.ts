// Jobs tell how far they are between ledger entries: while some run, their view asks again.
import type { Loaded } from '../load.svelte';

const QUICK = 2000;
const SLOW = 30_000;

/** Asks again while the view is seen: soon while `moving`, else now and then. */
export function beat<T>(found: Loaded<T>, moving: (data: T) => boolean): void {
  const again = () => {
    if (!document.hidden && !found.busy) found.again();
  };
  $effect(() => {
    const timer = setInterval(again, found.data !== null && moving(found.data) ? QUICK : SLOW);
    return () => clearInterval(timer);
  });
}
