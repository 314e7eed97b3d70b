import type { Event } from '@jupyterlab/services';
import { Stream } from '@lumino/signaling';
import { afterEach, describe, expect, it } from 'vitest';
import type { ISession } from '../src/restapi';
import { sessionName, SessionsModel } from '../src/sessions';
import { json, serverWith, session } from './executions';
import { until } from './waiting';

const SCHEMAS = 'https://events.jupyter.org/jupyter_exec_ext';

class Server {
  constructor(public sessions: ISession[]) {}

  isDown = false;
  lists = 0;
  rights: string[] = ['read', 'write', 'execute'];

  readonly settings = serverWith((_, url) => {
    if (this.isDown) {
      throw new TypeError('Failed to fetch');
    }
    if (url.pathname.endsWith('/api/me')) {
      return json({ permissions: { 'exec-sessions': this.rights, kernels: ['execute'] } });
    }
    this.lists += 1;
    return json({ sessions: this.sessions });
  });

  readonly stream = new Stream<Event.IManager, Event.Emission>({} as Event.IManager);

  emit(kind: 'session' | 'execution'): void {
    this.stream.emit({ schema_id: `${SCHEMAS}/${kind}/v1` });
  }
}

let model: SessionsModel;

async function modelOf(server: Server): Promise<SessionsModel> {
  const events = { stream: server.stream } as unknown as Event.IManager;
  model = new SessionsModel({ serverSettings: server.settings, events });
  let changes = 0;
  model.changed.connect(() => (changes += 1));
  await until(() => changes > 0);
  return model;
}

afterEach(() => model.dispose());

describe('SessionsModel', () => {
  it('lists sessions, and follows the event bus', async () => {
    const server = new Server([session({ name: 'mine' })]);
    const model = await modelOf(server);
    expect(model.sessions.map(({ name }) => name)).toEqual(['mine']);

    server.sessions = [];
    server.emit('session');

    await until(() => model.sessions.length === 0);
  });

  it('follows executions only while it is watched', async () => {
    const server = new Server([session()]);
    const model = await modelOf(server);
    const before = server.lists;
    server.emit('execution');
    expect(server.lists).toBe(before);

    model.isWatched = true;
    await until(() => server.lists > before);
    server.sessions = [{ ...server.sessions[0], pending_count: 3 }];
    server.emit('execution');

    await until(() => model.sessions[0].pending_count === 3);
  });

  it('keeps the list while the server is away, and recovers', async () => {
    const server = new Server([session()]);
    const model = await modelOf(server);

    server.isDown = true;
    await model.refresh().catch(() => undefined);
    expect(model.problem).not.toBeNull();
    expect(model.sessions).toHaveLength(1);

    server.isDown = false;
    await model.refresh();
    expect(model.problem).toBeNull();
  });

  it('loads nothing without the right to read', async () => {
    const server = new Server([session()]);
    server.rights = [];
    const model = await modelOf(server);
    await model.refresh();

    expect(server.lists).toBe(0);
    expect(model.permissions.canExecuteSessions).toBe(false);
  });

  it('shows at once what a command answered', async () => {
    const known = session();
    const model = await modelOf(new Server([known]));

    model.update({ ...known, state: 'busy' });
    expect(model.get(known.id)?.state).toBe('busy');
    model.remove(known.id);
    expect(model.sessions).toHaveLength(0);
  });
});

describe('sessionName', () => {
  it('is the name, else the description, else the begin of the id', () => {
    const id = '1f3d5b7a-9c2e';
    expect(sessionName(session({ id, name: 'mine', description: 'x' }))).toBe('mine');
    expect(sessionName(session({ id, description: 'x' }))).toBe('x');
    expect(sessionName(session({ id }))).toBe('1f3d5b7a');
  });
});
