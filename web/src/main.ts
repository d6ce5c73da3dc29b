import './app.css';

import { mount } from 'svelte';

import App from './App.svelte';
import { look } from './lib/state.svelte';

document.documentElement.dataset.theme = look.theme;
const target = document.getElementById('page');
if (target) {
  target.replaceChildren();
  mount(App, { target });
}
