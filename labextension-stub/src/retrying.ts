/** Requests that are sent again while the server or the connection to it is away. */
import { ServerConnection } from '@jupyterlab/services';

const MIN_DELAY = 250;
const MAX_DELAY = 10_000;

/** Statuses of a server, or of a proxy before it, that a later request may not get. */
const PASSING: readonly number[] = [429, 502, 503, 504];

/**
 * Return what *send* resolves to; send again while the failure may pass, until *signal* aborts.
 *
 * Throw the failure of the last attempt, or an error whose message begins with "Canceled" when
 * *signal* aborted.
 */
export async function retrying<T>(send: () => Promise<T>, signal: AbortSignal): Promise<T> {
  let delay = MIN_DELAY;
  for (;;) {
    if (signal.aborted) {
      throw new Error('Canceled');
    }
    try {
      return await send();
    } catch (reason) {
      if (!mayPass(reason)) {
        throw reason;
      }
    }
    await pause(delay, signal);
    delay = Math.min(2 * delay, MAX_DELAY);
  }
}

/** Whether a request may succeed when it is sent again. */
export function mayPass(reason: unknown): boolean {
  return (
    reason instanceof ServerConnection.NetworkError ||
    (reason instanceof ServerConnection.ResponseError && PASSING.includes(reason.response.status))
  );
}

/** Wait for *milliseconds*, or until *signal* aborts. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>(resolve => {
    const end = (): void => {
      window.clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = window.setTimeout(end, milliseconds);
    signal.addEventListener('abort', end);
  });
}
