import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    environment: './tests/environment.ts',
    // A newer file in this folder would have the front end built again.
    cache: false,
    include: ['tests/**/*.spec.ts'],
    // JupyterLab's packages are ES modules without file extensions, which node cannot load.
    server: { deps: { inline: [/@jupyterlab/, /@lumino/, /@jupyter\//] } }
  }
});
