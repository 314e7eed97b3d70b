import type { Event } from '@jupyterlab/services';
import { Stream } from '@lumino/signaling';
import { afterEach, describe, expect, it } from 'vitest';
import { ExecutionsModel } from '../src/model';
import { FINAL_STATES, type IExecution } from '../src/restapi';
import { execution, json, serverWith } from './executions';
import { until } from './waiting';

const SCHEMA = 'https://events.jupyter.org/jupyter_exec_ext/execution/v1';

/** A server with records, and the event bus that reports their changes. */
class Server {
  constructor(readonly executions: IExecution[]) {}

  permissions: { [resource: string]: string[] } = {
    executions: ['read', 'write', 'execute'],
    kernels: ['execute']
  };

  readonly settings = serverWith((_, url) => {
    if (this.isDown) {
      throw new TypeError('Failed to fetch');
    }
    this.requests.push(url);
    if (url.pathname.endsWith('/api/me')) {
      return json({ permissions: this.permissions });
    }
    const id = url.pathname.split('/exec/executions/')[1];
    if (id) {
      const found = this.executions.find(known => known.id === id);
      return found ? json(found) : json({ code: 'NotFound', message: 'gone', details: [] }, 404);
    }
    const states = url.searchParams.get('state')?.split(',') ?? [];
    const size = Number(url.searchParams.get('page_size'));
    const start = Number(url.searchParams.get('page_token') ?? 0);
    const path = url.searchParams.get('path');
    const found = this.executions
      .filter(({ state, source }) => states.includes(state) && (!path || source.path === path))
      .sort((a, b) => b.created_time.localeCompare(a.created_time));
    const next = start + size < found.length ? { next_page_token: String(start + size) } : {};
    return json({ executions: found.slice(start, start + size), ...next });
  });

  readonly stream = new Stream<Event.IManager, Event.Emission>({} as Event.IManager);
  isDown = false;
  readonly requests: URL[] = [];

  /** Change a record, and report the change. */
  change(id: string, fields: Partial<IExecution>): void {
    const at = this.executions.findIndex(known => known.id === id);
    this.executions[at] = { ...this.executions[at], ...fields };
    this.stream.emit({ schema_id: SCHEMA, execution_id: id });
  }
}

let model: ExecutionsModel;

async function modelOf(server: Server): Promise<ExecutionsModel> {
  const events = { stream: server.stream } as unknown as Event.IManager;
  model = new ExecutionsModel({ serverSettings: server.settings, events });
  await until(() => model.permissions.canRead || model.problem !== null);
  return model;
}

afterEach(() => model.dispose());

describe('ExecutionsModel', () => {
  it('lists active executions first, then the newest', async () => {
    const [old, running, recent] = [
      execution(),
      execution({ state: 'running' }),
      execution({ state: 'failed' })
    ];
    const model = await modelOf(new Server([old, running, recent]));
    await model.refresh();

    expect(model.executions.map(({ id }) => id)).toEqual([running.id, recent.id, old.id]);
    expect(model.activeCount).toBe(1);
  });

  it('follows the event bus, and reports the end once', async () => {
    const running = execution({ state: 'running' });
    const server = new Server([running]);
    const model = await modelOf(server);
    await model.refresh();
    const ended: string[] = [];
    model.ended.connect((_, { id }) => ended.push(id));

    server.change(running.id, { state: 'succeeded' });
    await until(() => model.activeCount === 0);
    await model.refresh();

    expect(ended).toEqual([running.id]);
    expect(model.get(running.id)?.state).toBe('succeeded');
  });

  it('finds what ended while no event came', async () => {
    const running = execution({ state: 'running' });
    const server = new Server([running]);
    const model = await modelOf(server);
    await model.refresh();
    const ended: string[] = [];
    model.ended.connect((_, { id }) => ended.push(id));

    server.executions[0] = { ...running, state: 'failed' };
    await model.refresh();

    expect(ended).toEqual([running.id]);
  });

  it('keeps the list and shows the problem while the server is away', async () => {
    const server = new Server([execution()]);
    const model = await modelOf(server);
    await model.refresh();

    server.isDown = true;
    await model.refresh().catch(() => undefined);
    expect(model.problem).not.toBeNull();
    expect(model.executions).toHaveLength(1);

    server.isDown = false;
    await model.refresh();
    expect(model.problem).toBeNull();
  });

  it('keeps an active execution whose change cannot be loaded', async () => {
    const running = execution({ state: 'running' });
    const server = new Server([running]);
    const model = await modelOf(server);
    await model.refresh();

    server.isDown = true;
    server.change(running.id, { state: 'failed' });
    await until(() => model.problem !== null);

    expect(model.executions).toHaveLength(1);
  });

  it('loads page after page', async () => {
    const server = new Server(Array.from({ length: 120 }, () => execution()));
    const model = await modelOf(server);
    await model.refresh();
    expect(model.executions).toHaveLength(50);

    await model.loadMore();
    await model.loadMore();

    expect(model.executions).toHaveLength(120);
    expect(new Set(model.executions.map(({ id }) => id)).size).toBe(120);
    expect(model.hasMore).toBe(false);
  });

  it('filters by state, notebook and text', async () => {
    const server = new Server([
      execution({ source: { path: 'one.ipynb' }, state: 'failed' }),
      execution({ source: { path: 'two.ipynb' }, description: 'Monthly REPORT' }),
      execution({ source: { path: 'two.ipynb' } })
    ]);
    const model = await modelOf(server);
    await model.refresh();

    model.filter = { ...model.filter, text: 'report' };
    expect(model.executions).toHaveLength(1);
    model.filter = { states: ['failed'], path: '', text: '' };
    await until(() => model.executions.length === 1);
    expect(model.executions[0].source.path).toBe('one.ipynb');
    model.filter = { states: [...FINAL_STATES], path: 'two.ipynb', text: '' };
    await until(() => model.executions.length === 2);
  });

  it('reports each input request once', async () => {
    const running = execution({ state: 'running' });
    const server = new Server([running]);
    const model = await modelOf(server);
    await model.refresh();
    let count = 0;
    model.inputRequested.connect(() => (count += 1));

    const request = { prompt: '? ', password: false, event_id: 4 };
    server.executions[0] = { ...running, input_request: request };
    await model.refresh();
    await model.refresh();
    expect(count).toBe(1);

    server.executions[0] = { ...running, input_request: { ...request, event_id: 6 } };
    await model.refresh();
    expect(count).toBe(2);
  });

  it('loads the rights when the server comes back', async () => {
    const server = new Server([execution()]);
    server.isDown = true;
    const model = await modelOf(server);
    expect(model.problem).not.toBeNull();

    server.isDown = false;
    await model.refresh();

    expect(model.executions).toHaveLength(1);
    expect(model.permissions.canExecute).toBe(true);
  });

  it('finds a text among 10,000 records with few requests', async () => {
    const records = Array.from({ length: 10_000 }, (_, number) =>
      execution({ description: number % 2_000 ? '' : `special ${number}` })
    );
    const server = new Server(records);
    const model = await modelOf(server);
    await model.refresh();
    server.requests.length = 0;

    model.filter = { ...model.filter, text: 'SPECIAL' };
    await until(() => !model.isLoadingMore && !model.hasMore);

    expect(model.executions.map(({ description }) => description)).toEqual([
      'special 8000',
      'special 6000',
      'special 4000',
      'special 2000',
      'special 0'
    ]);
    expect(server.requests.length).toBeLessThanOrEqual(12);
  });

  it('shows 50 rows at first, however many match', async () => {
    const server = new Server(Array.from({ length: 3_000 }, () => execution()));
    const model = await modelOf(server);
    await model.refresh();

    model.filter = { ...model.filter, text: 'a.ipynb' };
    await until(() => !model.isLoadingMore);

    expect(model.executions).toHaveLength(50);
    await model.loadMore();
    expect(model.executions).toHaveLength(100);
    expect(model.hasMore).toBe(true);
  });

  it('removes what was deleted on the server', async () => {
    const server = new Server(Array.from({ length: 120 }, () => execution()));
    const model = await modelOf(server);
    await model.refresh();
    const [first, second] = model.executions;

    server.executions.splice(server.executions.indexOf(first), 1);
    await model.refresh();

    expect(model.get(first.id)).toBeUndefined();
    expect(model.executions[0]).toEqual(second);
  });

  it('leaves no hole when more than a page has ended between two loads', async () => {
    const server = new Server(Array.from({ length: 120 }, () => execution()));
    const model = await modelOf(server);
    await model.refresh();

    server.executions.push(...Array.from({ length: 70 }, () => execution()));
    await model.refresh();
    await model.loadMore();

    expect(model.executions).toEqual([...server.executions].reverse().slice(0, 100));
  });

  it('does not list an old record that only the details load', async () => {
    const server = new Server(Array.from({ length: 120 }, () => execution()));
    const model = await modelOf(server);
    await model.refresh();

    model.update(server.executions[0]);

    expect(model.executions).toHaveLength(50);
    expect(model.get(server.executions[0].id)).toBeUndefined();
  });

  it('knows the notebooks to filter by', async () => {
    const server = new Server([
      execution({ source: { path: 'b.ipynb' } }),
      execution({ source: { path: 'a.ipynb' } }),
      execution({ type: 'code', source: { code: '1' } })
    ]);
    const model = await modelOf(server);
    await model.refresh();

    expect(model.paths).toEqual(['a.ipynb', 'b.ipynb']);
  });

  it('loads nothing without the right to read', async () => {
    const server = new Server([execution()]);
    server.permissions = { executions: [] };
    const events = { stream: server.stream } as unknown as Event.IManager;
    model = new ExecutionsModel({ serverSettings: server.settings, events });
    let changes = 0;
    model.changed.connect(() => (changes += 1));
    await until(() => changes > 0);
    await model.refresh();

    expect(model.executions).toHaveLength(0);
    expect(model.permissions.canExecute).toBe(false);
  });
});
