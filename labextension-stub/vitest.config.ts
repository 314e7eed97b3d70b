import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    environment: 'jsdom',
    include: ['tests/**/*.spec.ts'],
    // JupyterLab's packages are ES modules without file extensions, which node cannot load.
    server: { deps: { inline: [/@jupyterlab/, /@lumino/, /@jupyter\//] } }
  }
});
