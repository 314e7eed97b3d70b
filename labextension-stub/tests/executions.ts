/** Records, replies and a server for the unit tests. */
import { ServerConnection } from '@jupyterlab/services';
import type { IExecution, ISession } from '../src/restapi';

let count = 0;

/** Return a valid record with these fields. */
export function execution(fields: Partial<IExecution> = {}): IExecution {
  count += 1;
  return {
    id: `id-${count}`,
    type: 'notebook',
    state: 'succeeded',
    source: { path: 'a.ipynb' },
    kernel_name: 'python3',
    session_id: 'session',
    owner: 'ada',
    description: '',
    labels: {},
    input_names: [],
    variable_names: [],
    created_time: new Date(Date.UTC(2026, 10, 30, 10, 0, count)).toISOString(),
    ...fields
  };
}

/** Return a valid session with these fields. */
export function session(fields: Partial<ISession> = {}): ISession {
  count += 1;
  return {
    id: `session-${count}`,
    state: 'idle',
    kernel_name: 'python3',
    created_time: '2026-11-30T10:00:00Z',
    last_activity_time: '2026-11-30T10:00:00Z',
    is_attached: false,
    path: 'sessions/mine',
    owner: 'ada',
    description: '',
    pending_count: 0,
    ...fields
  };
}

export type Answer = (request: Request, url: URL) => Response | Promise<Response>;

/** Return the settings of a server that *answer* stands for. */
export function serverWith(answer: Answer): ServerConnection.ISettings {
  return ServerConnection.makeSettings({
    baseUrl: 'http://localhost/user/a%40b/',
    fetch: async (input, init) => {
      const request = new Request(input, init);
      request.signal.throwIfAborted();
      return answer(request, new URL(request.url));
    }
  });
}

/** Return a reply with *data* as JSON. */
export function json(data: unknown, status = 200): Response {
  return new Response(JSON.stringify(data), { status });
}

/** Storage that is empty at first. */
export class MemoryStorage implements Storage {
  readonly [name: string]: unknown;

  get length(): number {
    return this._items.size;
  }

  key(index: number): string | null {
    return [...this._items.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this._items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this._items.set(key, value);
  }

  removeItem(key: string): void {
    this._items.delete(key);
  }

  clear(): void {
    this._items.clear();
  }

  private readonly _items = new Map<string, string>();
}
