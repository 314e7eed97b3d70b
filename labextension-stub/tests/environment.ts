import { builtinEnvironments, type Environment } from 'vitest/environments';

const { jsdom } = builtinEnvironments;

/** jsdom with the AbortSignal of Node.js, whose fetch refuses that of jsdom. */
export default {
  ...jsdom,
  async setup(global: typeof globalThis, options: Record<string, unknown>) {
    const { AbortController, AbortSignal } = global;
    const environment = await jsdom.setup(global, options);
    Object.assign(global, { AbortController, AbortSignal });
    return environment;
  }
} satisfies Environment;
