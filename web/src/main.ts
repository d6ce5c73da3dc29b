import './app.css';

import { mount } from 'svelte';

import App from './App.svelte';
import { get, type Session } from './lib/api';
import { forget } from './lib/early';
import { followAddress, look, route, session } from './lib/state.svelte';
import { match, view } from './routes';

document.documentElement.dataset.theme = look.theme;
followAddress();
const target = document.getElementById('page');
if (target) void begin(target);

/** Draws the page once, when it is known who one is; when the hub does not say, the page shows that and asks again. */
async function begin(target: HTMLElement): Promise<void> {
  // The view is fetched while the hub is asked.
  const found = match(route.parts);
  if (found) void view(found.route).catch(() => undefined);
  session.view = await get<Session>('/api/v1/session').catch(() => null);
  if (session.view && !session.view.signed_in) forget();
  target.replaceChildren();
  mount(App, { target });
}
