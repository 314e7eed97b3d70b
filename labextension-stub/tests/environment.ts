import { builtinEnvironments, type Environment } from 'vitest/environments';

const { jsdom } = builtinEnvironments;

/**
 * jsdom with the AbortSignal and the Blob of Node.js, whose fetch refuses those of jsdom, and with
 * what JupyterLab's packages use when they are loaded and jsdom lacks.
 */
export default {
  ...jsdom,
  async setup(global: typeof globalThis, options: Record<string, unknown>) {
    const { AbortController, AbortSignal, Blob } = global;
    const environment = await jsdom.setup(global, options);
    const DragEvent = class extends global.MouseEvent {};
    const matchMedia = (): object => ({ matches: false, addEventListener: () => undefined });
    Object.assign(global, { AbortController, AbortSignal, Blob, DragEvent, matchMedia });
    return environment;
  }
} satisfies Environment;
