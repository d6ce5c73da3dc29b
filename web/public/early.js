// Asks for what is shown first while the program of the page is still on its way; `src/lib/early.ts` takes the answers.
(() => {
  const ask = (path) => {
    const answer = fetch(path, { credentials: 'same-origin' });
    answer.catch(() => undefined);
    window.early[path] = answer;
  };
  window.early = {};
  ask('/api/v1/session');
  if (/^(#\/?)?$/.test(location.hash)) ask('/api/v1/overview');
})();
