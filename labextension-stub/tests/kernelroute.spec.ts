import type { Kernel } from '@jupyterlab/services';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { IEventFeed, IStarted } from '../src/eventfeed';
import type { CellFuture } from '../src/executionfuture';
import { KernelRouter } from '../src/kernelroute';
import type { IExecutionEvent, ISession } from '../src/restapi';
import { execution, json, serverWith, session } from './executions';
import { until } from './waiting';

interface IBody {
  readonly code: string;
  readonly session_id: string;
  readonly after?: string;
  readonly origin: object;
}

/** A server that starts code in sessions, and whose executions end when a test says so. */
class Server implements IEventFeed {
  readonly bodies: IBody[] = [];
  readonly keys: (string | null)[] = [];
  readonly sessions: string[] = [];
  /** Answers before the server does, one for each request. */
  readonly refusals: Response[] = [];
  private readonly _ends = new Map<string, () => void>();

  readonly settings = serverWith(async (request, url) => {
    const refusal = this.refusals.shift();
    if (refusal) {
      return refusal;
    }
    if (url.pathname.endsWith('/sessions')) {
      this.sessions.push(`session-${this.sessions.length}`);
      const body = (await request.json()) as Partial<ISession>;
      return json(session({ ...body, id: this.sessions.at(-1) }));
    }
    const body = (await request.json()) as IBody;
    this.bodies.push(body);
    this.keys.push(request.headers.get('Idempotency-Key'));
    return json(execution({ id: body.code, session_id: body.session_id, state: 'pending' }), 201);
  });

  async follow(
    { id }: IStarted,
    take: (event: IExecutionEvent) => Promise<void>,
    signal: AbortSignal
  ): Promise<void> {
    await new Promise<void>(resolve => {
      this._ends.set(id, resolve);
      signal.addEventListener('abort', () => resolve());
    });
    await take({ id: 1, type: 'end', state: 'succeeded' });
  }

  async end(id: string): Promise<void> {
    await until(() => this._ends.has(id));
    this._ends.get(id)?.();
  }
}

/** A kernel's connection, with the code that was sent through it as always. */
class Connection {
  constructor(server: Server, id = 'kernel') {
    const { settings } = server;
    const requestExecute = (content: { code: string }): CellFuture => {
      this.sent.push(content.code);
      const future = {
        done: Promise.resolve({}),
        onReply: () => undefined,
        dispose: () => undefined
      };
      return future as unknown as CellFuture;
    };
    this.kernel = { id, serverSettings: settings, requestExecute } as unknown as typeof this.kernel;
  }

  readonly kernel: Kernel.IKernelConnection;
  readonly sent: string[] = [];

  run(code: string, content: object = {}): CellFuture {
    return this.kernel.requestExecute({ code, ...content }, false, { cellId: `cell-${code}` });
  }
}

function routed(server: Server, isOn = (): boolean => true): Connection {
  const connection = new Connection(server);
  const notebook = { isOn, path: () => 'folder/a.ipynb', onStarted: () => undefined };
  new KernelRouter(server.settings, server).route(connection.kernel, notebook);
  return connection;
}

afterEach(() => vi.useRealTimers());

describe('KernelRouter', () => {
  it('starts cells in the session of the kernel, in their order', async () => {
    const server = new Server();
    const connection = routed(server);
    connection.run('a');
    connection.run('b');
    await until(() => server.bodies.length === 2);

    expect(server.sessions).toHaveLength(1);
    expect(server.bodies).toEqual([
      {
        code: 'a',
        session_id: 'session-0',
        origin: { path: 'folder/a.ipynb', cell_id: 'cell-a' }
      },
      {
        code: 'b',
        session_id: 'session-0',
        origin: { path: 'folder/a.ipynb', cell_id: 'cell-b' },
        after: 'a'
      }
    ]);
    expect(new Set(server.keys).size).toBe(2);
    expect(connection.sent).toEqual([]);
  });

  it('lets a cell depend neither on one that has ended nor on one that may fail', async () => {
    const server = new Server();
    const connection = routed(server);
    const first = connection.run('a');
    await server.end('a');
    await first.done;

    connection.run('b', { stop_on_error: false });
    connection.run('c');
    connection.run('d', { stop_on_error: false });
    connection.run('e');
    await until(() => server.bodies.length === 5);

    expect(server.bodies.map(({ after }) => after)).toEqual([
      undefined,
      undefined,
      undefined,
      'c',
      'c'
    ]);
  });

  it('sends what is off, silent, or not from a cell to the kernel', () => {
    const server = new Server();
    let isOn = true;
    const connection = routed(server, () => isOn);
    connection.run('silent', { silent: true });
    connection.run('unstored', { store_history: false });
    connection.run('expressions', { user_expressions: { x: 'y' } });
    connection.kernel.requestExecute({ code: 'console' });
    isOn = false;
    connection.run('off');

    expect(connection.sent).toEqual(['silent', 'unstored', 'expressions', 'console', 'off']);
  });

  it('leaves the kernels of other servers alone', () => {
    const server = new Server();
    const connection = new Connection(server);
    const settings = { ...connection.kernel.serverSettings, baseUrl: 'http://other/' };
    const kernel = { ...connection.kernel, serverSettings: settings } as Kernel.IKernelConnection;
    const plain = kernel.requestExecute;
    new KernelRouter(server.settings, server).route(kernel, {
      isOn: () => true,
      path: () => 'a.ipynb',
      onStarted: () => undefined
    });
    expect(kernel.requestExecute).toBe(plain);
  });

  it.each([403, 404])('sends cells to the kernel when the server answers %d', async status => {
    const server = new Server();
    server.refusals.push(json({ message: 'refused' }, status));
    const connection = routed(server);
    connection.run('a');
    connection.run('b');
    await until(() => connection.sent.length === 2);
    connection.run('c');

    expect(connection.sent).toEqual(['a', 'b', 'c']);
    expect(server.bodies).toEqual([]);
  });

  it('attaches again when the session has ended', async () => {
    const server = new Server();
    const connection = routed(server);
    connection.run('a');
    await until(() => server.bodies.length === 1);
    server.refusals.push(json({ code: 'SessionEnded', message: 'ended' }, 409));
    connection.run('b');
    await until(() => server.bodies.length === 2);

    expect(server.bodies[1].session_id).toBe('session-1');
  });

  it('sends again, by the same key, while the server is away', async () => {
    const server = new Server();
    const connection = routed(server);
    connection.run('a');
    await until(() => server.bodies.length === 1);
    server.refusals.push(json({ message: 'away' }, 503));
    connection.run('b');
    await until(() => server.bodies.length === 2);

    expect(server.bodies.map(({ code }) => code)).toEqual(['a', 'b']);
  });

  it('shows a refusal of one cell in that cell, and cancels those behind it', async () => {
    const server = new Server();
    const connection = routed(server);
    const first = connection.run('first');
    await until(() => server.bodies.length === 1);
    server.refusals.push(json({ code: 'InvalidArgument', message: 'too long' }, 422));
    const refused = connection.run('refused');
    const behind = connection.run('behind');

    expect((await refused.done).content).toMatchObject({ status: 'error', evalue: 'too long' });
    await expect(behind.done).rejects.toThrow(/^Canceled/);
    first.dispose();
    expect(connection.sent).toEqual([]);
  });
});
