import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

export default defineConfig({
  plugins: [svelte()],
  // Nothing inline: the hub's Content-Security-Policy allows only files of its own.
  build: { target: 'es2022', assetsInlineLimit: 0, manifest: true, modulePreload: { polyfill: false } },
  // `npm run dev` beside a running hub, which takes only requests whose Origin is the Host that was asked.
  server: { proxy: { '/api': { target: process.env.BACKSTAY_HUB ?? 'http://127.0.0.1:8484', changeOrigin: false } } },
});
