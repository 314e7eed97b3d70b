import { describe, expect, it } from 'vitest';
import { EventFeed } from '../src/eventfeed';
import type { IExecutionEvent } from '../src/restapi';
import { execution, json, serverWith } from './executions';
import { until } from './waiting';

/** A connection that the feed has opened. */
class Connection {
  constructor(readonly url: URL) {}

  private _controller!: ReadableStreamDefaultController<Uint8Array>;

  get ids(): string[] {
    return this.url.searchParams.getAll('id');
  }

  /** Send events, each with a cursor that names it. */
  send(id: string, ...events: IExecutionEvent[]): void {
    for (const event of events) {
      const sent = { ...event, execution_id: id, cursor: `${id}-${event.id}` };
      this._controller.enqueue(new TextEncoder().encode(JSON.stringify(sent) + '\n'));
    }
  }

  cut(): void {
    this._controller.close();
  }

  /** Fail as a reply does when its request is aborted. */
  abort(): void {
    this._controller.error(new DOMException('aborted', 'AbortError'));
  }

  readonly body = new ReadableStream<Uint8Array>({
    start: controller => {
      this._controller = controller;
    }
  });
}

class Server {
  readonly connections: Connection[] = [];
  readonly open = new Set<Connection>();
  readonly deleted = new Set<string>();

  readonly settings = serverWith((request, url) => {
    const id = url.pathname.split('/executions/')[1];
    if (id) {
      return this.deleted.has(id) ? json({ message: 'gone' }, 404) : json(execution({ id }));
    }
    if (url.searchParams.getAll('id').some(wanted => this.deleted.has(wanted))) {
      return json({ message: 'gone' }, 404);
    }
    const connection = new Connection(url);
    this.connections.push(connection);
    this.open.add(connection);
    request.signal.addEventListener('abort', () => {
      this.open.delete(connection);
      connection.abort();
    });
    return new Response(connection.body);
  });

  get last(): Connection {
    return this.connections[this.connections.length - 1];
  }
}

const never = new AbortController().signal;
let createdCount = 0;

function follow(
  feed: EventFeed,
  id: string,
  session = 'one',
  signal = never,
  createdTime = String((createdCount += 1)).padStart(6, '0')
): { ids: number[]; done: Promise<void>; isDone: () => boolean } {
  const ids: number[] = [];
  let isDone = false;
  const done = feed
    .follow(
      { id, session_id: session, created_time: createdTime },
      event => {
        ids.push(event.id ?? -1);
        return Promise.resolve();
      },
      signal
    )
    .finally(() => (isDone = true));
  return { ids, done, isDone: () => isDone };
}

function text(id: number): IExecutionEvent {
  return { id, type: 'stream', name: 'stdout', text: String(id) };
}

const end = (id: number): IExecutionEvent => ({ id, type: 'end', state: 'succeeded' });

describe('EventFeed', () => {
  it('follows all sessions over one connection, from which it goes on', async () => {
    const server = new Server();
    const feed = new EventFeed(server.settings);
    const first = follow(feed, 'a', 'one');
    await until(() => server.connections.length === 1);
    server.last.send('a', text(0), text(1));
    await until(() => first.ids.length === 2);

    const second = follow(feed, 'b', 'two');
    await until(() => server.connections.length === 2);

    expect(server.last.ids).toEqual(['a', 'b']);
    expect(server.last.url.searchParams.get('after')).toBe('a-1');
    server.last.send('b', text(0), end(1));
    server.last.send('a', end(2));
    await Promise.all([first.done, second.done]);
    expect([first.ids, second.ids]).toEqual([
      [0, 1, 2],
      [0, 1]
    ]);
  });

  it('does not connect again for executions that wait behind others', async () => {
    const server = new Server();
    const feed = new EventFeed(server.settings);
    const followed = Array.from({ length: 8 }, (_, index) => follow(feed, `id-${index}`));
    await until(() => server.connections.length > 0);
    server.last.send('id-0', end(1));
    await followed[0].done;
    for (let index = 1; index < 8; index++) {
      await until(() => server.last.ids.includes(`id-${index}`));
      server.last.send(`id-${index}`, end(1));
      await followed[index].done;
    }

    expect(server.connections.length).toBeLessThan(5);
  });

  it('connects again for an execution that runs before those that are followed', async () => {
    const server = new Server();
    const feed = new EventFeed(server.settings);
    const waiting = follow(feed, 'waiting', 'one', never, '2');
    await until(() => server.connections.length === 1);

    const running = follow(feed, 'running', 'one', never, '1');
    await until(() => server.connections.length === 2);

    expect(server.last.ids).toEqual(['running', 'waiting']);
    server.last.send('running', end(1));
    server.last.send('waiting', end(1));
    await Promise.all([running.done, waiting.done]);
  });

  it('asks again after the last event when the connection was cut', async () => {
    const server = new Server();
    const feed = new EventFeed(server.settings);
    const { ids, done } = follow(feed, 'a');
    await until(() => server.connections.length === 1);
    server.last.send('a', text(1));
    server.last.cut();
    await until(() => server.connections.length === 2);

    expect(server.last.url.searchParams.get('after')).toBe('a-1');
    server.last.send('a', text(1), end(2));
    await done;
    expect(ids).toEqual([1, 2]);
  });

  it('shows a second follower all events', async () => {
    const server = new Server();
    const feed = new EventFeed(server.settings);
    const first = follow(feed, 'a');
    await until(() => server.connections.length === 1);
    server.last.send('a', text(1));
    await until(() => first.ids.length === 1);

    const second = follow(feed, 'a');
    await until(() => server.connections.length === 2);
    expect(server.last.url.searchParams.get('after')).toBeNull();
    server.last.send('a', text(1), end(2));

    await Promise.all([first.done, second.done]);
    expect([first.ids, second.ids]).toEqual([
      [1, 2],
      [1, 2]
    ]);
  });

  it('gives up an execution whose record is gone, and follows the others', async () => {
    const server = new Server();
    server.deleted.add('a');
    const feed = new EventFeed(server.settings);
    const gone = follow(feed, 'a');
    const other = follow(feed, 'b');

    await gone.done;
    await until(() => server.connections.length === 1);
    server.last.send('b', end(1));
    await other.done;
    expect(gone.ids).toEqual([]);
  });

  it('closes the connection after the last follower has left', async () => {
    const server = new Server();
    const feed = new EventFeed(server.settings);
    const stop = new AbortController();
    const { done } = follow(feed, 'a', 'one', stop.signal);
    await until(() => server.open.size === 1);

    stop.abort();

    await done;
    await until(() => server.open.size === 0);
  });
});
