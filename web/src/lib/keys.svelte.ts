// What the keyboard reaches from everywhere: the palette, the keys themselves, and the views behind `g`.
import { ROUTES } from '../routes';
import type { Selector } from './api';

/** What lies over the views. */
export const over = $state<{ palette: boolean; help: boolean; undo: { selector: Selector; title: string } | null }>({
  palette: false, help: false, undo: null,
});

/** How long `g` waits for its second key, in milliseconds. */
const PATIENCE = 1500;
export const META = /Mac|iPhone|iPad/.test(navigator.userAgent) ? '⌘' : 'Ctrl';

/** Listens until told to stop. */
export function listen(): () => void {
  let went = 0;
  const pressed = (event: KeyboardEvent) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      over.palette = !over.palette && !document.querySelector('dialog[open]:not(.palette)');
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector('dialog[open]')) return;
    const second = Date.now() - went < PATIENCE;
    went = 0;
    if (second) {
      const to = ROUTES.find((route) => route.key === event.key);
      if (!to) return;
      event.preventDefault();
      location.hash = `#/${to.path.split('/')[0] ?? ''}`;
    } else if (event.key === 'g') went = Date.now();
    else if (event.key === '/') {
      event.preventDefault();
      over.palette = true;
    } else if (event.key === '?') {
      event.preventDefault();
      over.help = true;
    }
  };
  window.addEventListener('keydown', pressed);
  return () => window.removeEventListener('keydown', pressed);
}

const typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || target.matches('input:not([type=radio], [type=checkbox]), textarea, select'));
