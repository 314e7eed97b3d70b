/** Waiting for a condition, with a limit. */
import { expect } from 'vitest';

/** Wait until *condition* is true, for ten seconds at most. */
export async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000 && !condition(); tries++) {
    await new Promise(resolve => setTimeout(resolve, 10));
  }
  expect(condition()).toBe(true);
}
