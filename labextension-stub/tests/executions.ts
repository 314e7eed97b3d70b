/** Records, replies and a server for the unit tests. */
import { ServerConnection } from '@jupyterlab/services';
import type { IExecution } from '../src/restapi';

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

export type Answer = (request: Request, url: URL) => Response | Promise<Response>;

/** Return the settings of a server that *answer* stands for. */
export function serverWith(answer: Answer): ServerConnection.ISettings {
  return ServerConnection.makeSettings({
    baseUrl: 'http://localhost/user/a%40b/',
    fetch: async (input, init) => {
      const request = new Request(input, init);
      return answer(request, new URL(request.url));
    }
  });
}

/** Return a reply with *data* as JSON. */
export function json(data: unknown, status = 200): Response {
  return new Response(JSON.stringify(data), { status });
}
