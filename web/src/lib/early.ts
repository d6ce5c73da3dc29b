// What `public/early.js` has asked for before this program was there. Each answer is taken once, and soon.
declare global {
  interface Window { early?: Record<string, Promise<Response>> }
}

const FRESH = 3000;

/** The answer that is on its way to a question without a query, if it was asked early. */
export function taken(path: string): Promise<Response> | undefined {
  const answer = window.early?.[path];
  if (window.early) delete window.early[path];
  return performance.now() < FRESH ? answer : undefined;
}

/** What was asked before one was signed in is no answer. */
export function forget(): void {
  window.early = {};
}
