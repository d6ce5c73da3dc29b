// Jobs tell how far they are between ledger entries: while some run, their view asks again.
import { hear } from '../live.svelte';
import type { Loaded } from '../load.svelte';
import { concerns } from './words';

const QUICK = 2000;
const SLOW = 30_000;
/** What the hub sums up is up to five seconds old: so long after something was recorded it is asked once more. */
const AFTER = 6000;

/** Asks again while the view is seen: soon while `moving`, else now and then. */
export function beat<T>(found: Loaded<T>, moving: (data: T) => boolean): void {
  const again = () => {
    if (!document.hidden && !found.busy) found.again();
  };
  $effect(() => {
    const timer = setInterval(again, found.data !== null && moving(found.data) ? QUICK : SLOW);
    return () => clearInterval(timer);
  });
  $effect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const off = hear('entry', (entry) => {
      if (!concerns(entry)) return;
      clearTimeout(timer);
      timer = setTimeout(again, AFTER);
    });
    return () => {
      off();
      clearTimeout(timer);
    };
  });
}
