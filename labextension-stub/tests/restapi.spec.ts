import { ServerConnection } from '@jupyterlab/services';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  answerInput,
  ConnectionTakenError,
  deleteExecutions,
  endSession,
  fileUrl,
  followExecution,
  getExecution,
  interruptSession,
  listExecutions,
  listFiles,
  listSessions,
  restartSession,
  startNotebook,
  STATES,
  uploadFile,
  type IExecutionEvent
} from '../src/restapi';
import { EXECUTION_FIELDS, FILE_FIELDS, RESULT_FIELDS, SESSION_FIELDS } from '../src/validate';
import { execution, json, serverWith, session } from './executions';
import { until } from './waiting';

interface ISchema {
  readonly properties?: { readonly [name: string]: { readonly type?: string } };
  readonly required?: readonly string[];
  readonly enum?: readonly string[];
}

const contract = JSON.parse(readFileSync('openapi.json', 'utf-8')) as {
  readonly paths: { readonly [path: string]: { readonly [verb: string]: unknown } };
  readonly components: { readonly schemas: { readonly [name: string]: ISchema } };
};

describe('the contract', () => {
  const { schemas } = contract.components;

  it.each([
    ['ExecutionRecord', EXECUTION_FIELDS],
    ['ResultView', RESULT_FIELDS],
    ['SessionRecord', SESSION_FIELDS],
    ['FileEntry', FILE_FIELDS]
  ])('promises each field of %s that the front end relies on', (name, fields) => {
    expect(schemas[name].required).toEqual(expect.arrayContaining(Object.keys(fields)));
  });

  it('has the states that the front end knows', () => {
    expect([...(schemas.State.enum ?? [])].sort()).toEqual([...STATES].sort());
  });

  it.each([
    ['exec/executions', 'get'],
    ['exec/executions', 'post'],
    ['exec/executions', 'delete'],
    ['exec/executions/{execution_id}', 'get'],
    ['exec/executions/{execution_id}', 'delete'],
    ['exec/executions/{execution_id}/cancel', 'post'],
    ['exec/executions/{execution_id}/events', 'get'],
    ['exec/executions/{execution_id}/input', 'post'],
    ['exec/executions/{execution_id}/notebook', 'get'],
    ['exec/sessions', 'get'],
    ['exec/sessions/{session_id}', 'delete'],
    ['exec/sessions/{session_id}/interrupt', 'post'],
    ['exec/sessions/{session_id}/restart', 'post'],
    ['exec/sessions/{session_id}/files', 'get'],
    ['exec/sessions/{session_id}/files/{path}', 'get'],
    ['exec/sessions/{session_id}/files/{path}', 'put']
  ])('has %s with %s', (path, verb) => {
    const found = Object.keys(contract.paths).find(known => known.endsWith(path));
    expect(contract.paths[found ?? '']).toHaveProperty(verb);
  });
});

describe('requests', () => {
  it('keep the base URL as the server spells it', async () => {
    const paths: string[] = [];
    const settings = serverWith((_, url) => {
      paths.push(url.pathname);
      return json({ executions: [] });
    });
    await listExecutions(settings, {});
    expect(paths).toEqual(['/user/a%40b/exec/executions']);
  });

  it('send filters and the page token', async () => {
    let query = new URLSearchParams();
    const settings = serverWith((_, url) => {
      query = url.searchParams;
      return json({ executions: [execution()], next_page_token: 'more' });
    });
    const page = await listExecutions(settings, {
      states: ['failed', 'cancelled'],
      path: 'a & b.ipynb',
      pageSize: 5,
      pageToken: 'next'
    });
    expect(query.get('state')).toBe('failed,cancelled');
    expect(query.get('path')).toBe('a & b.ipynb');
    expect(query.get('page_token')).toBe('next');
    expect(page.next_page_token).toBe('more');
  });

  it('start a notebook once, whatever happens to the answer', async () => {
    let key: string | null = null;
    const settings = serverWith(request => {
      key = request.headers.get('Idempotency-Key');
      return json(execution({ state: 'pending' }), 202);
    });
    await startNotebook(settings, { notebook: { path: 'a.ipynb' } }, 'my-key');
    expect(key).toBe('my-key');
  });

  it("reject with the server's own message", async () => {
    const settings = serverWith(() =>
      json({ code: 'NotFound', message: 'There is no such execution', details: [] }, 404)
    );
    const refused = getExecution(settings, 'x', { full: true });
    await expect(refused).rejects.toThrow('There is no such execution');
    await expect(refused).rejects.toBeInstanceOf(ServerConnection.ResponseError);
  });

  it('reject a record that is not valid', async () => {
    const settings = serverWith(() => json({ ...execution(), labels: null }));
    await expect(getExecution(settings, 'x', { full: false })).rejects.toThrow(
      'labels must be of type object, not null'
    );
  });

  it('answer and end the input of an execution', async () => {
    const bodies: unknown[] = [];
    const settings = serverWith(async request => {
      bodies.push(await request.json());
      return json(execution({ state: 'running' }));
    });
    await answerInput(settings, 'x', 'Ada');
    await answerInput(settings, 'x', null);
    expect(bodies).toEqual([{ value: 'Ada' }, { value: null }]);
  });

  it('return how many executions were deleted', async () => {
    const settings = serverWith(() => json({ deleted: 3 }));
    expect(await deleteExecutions(settings, { states: ['failed'] })).toBe(3);
  });
});

describe('requests for sessions', () => {
  it('list sessions and files', async () => {
    const known = session();
    const settings = serverWith((_, url) =>
      url.pathname.endsWith('/files')
        ? json({ files: [{ name: 'b.csv', path: 'a/b.csv', type: 'file', size_bytes: 3 }] })
        : json({ sessions: [known] })
    );
    expect((await listSessions(settings, { pageSize: 10 })).sessions).toEqual([known]);
    const { files } = await listFiles(settings, known.id);
    expect(files.map(({ path }) => path)).toEqual(['a/b.csv']);
  });

  it('interrupt, restart and end a session', async () => {
    const sent: string[] = [];
    const settings = serverWith((request, url) => {
      sent.push(`${request.method} ${url.pathname.split('/exec/')[1]}`);
      return request.method === 'DELETE' ? new Response(null, { status: 204 }) : json(session());
    });
    await interruptSession(settings, 's');
    await restartSession(settings, 's');
    await endSession(settings, 's');
    expect(sent).toEqual([
      'POST sessions/s/interrupt',
      'POST sessions/s/restart',
      'DELETE sessions/s'
    ]);
  });

  it('upload a file, and replace none unless told to', async () => {
    const files = new Map<string, string>();
    const settings = serverWith(async (request, url) => {
      const path = decodeURIComponent(url.pathname.split('/files/')[1]);
      if (files.has(path) && request.headers.get('If-None-Match') === '*') {
        return json({ code: 'PreconditionFailed', message: 'exists', details: [] }, 412);
      }
      files.set(path, await request.text());
      return json({ name: path, path, type: 'file' }, 201);
    });
    const upload = (text: string, replaces: boolean): ReturnType<typeof uploadFile> =>
      uploadFile(settings, 's', 'ä & b.csv', new Blob([text]), { replaces });

    expect((await upload('1', false))?.path).toBe('ä & b.csv');
    expect(await upload('2', false)).toBeNull();
    expect(files.get('ä & b.csv')).toBe('1');
    await upload('3', true);
    expect(files.get('ä & b.csv')).toBe('3');
  });

  it('download at an address that the browser loads itself', () => {
    const settings = serverWith(() => json({}));
    expect(fileUrl(settings, 's', 'a b/c#d.csv')).toBe(
      'http://localhost/user/a%40b/exec/sessions/s/files/a%20b/c%23d.csv'
    );
  });
});

describe('connections', () => {
  it('are two: short requests wait for each other, streams take turns', async () => {
    let open = 0;
    let most = 0;
    const settings = serverWith(async request => {
      if (request.url.includes('/events')) {
        const { signal } = request;
        const start = (controller: ReadableStreamDefaultController): void =>
          signal.addEventListener('abort', () => controller.error(signal.reason));
        return new Response(new ReadableStream({ start }));
      }
      open += 1;
      most = Math.max(most, open);
      await new Promise(resolve => setTimeout(resolve, 5));
      open -= 1;
      return json({ executions: [] });
    });
    await Promise.all(Array.from({ length: 5 }, () => listExecutions(settings, {})));
    expect(most).toBe(1);

    const ended: string[] = [];
    const follow = async (name: string, signal: AbortSignal): Promise<void> => {
      try {
        await followExecution(settings, name, 0, signal).next();
      } catch (reason) {
        ended.push(`${name} ${reason instanceof ConnectionTakenError ? 'taken' : 'aborted'}`);
      }
    };
    const second = new AbortController();
    const following = [
      follow('first', new AbortController().signal),
      follow('second', second.signal)
    ];
    await until(() => ended.length === 1);
    expect(ended).toEqual(['first taken']);
    second.abort();
    await Promise.all(following);
    expect(ended).toEqual(['first taken', 'second aborted']);
  });
});

describe('followExecution', () => {
  it('yields whole events, however the stream is cut into pieces', async () => {
    const text =
      '{"id":0,"type":"state","state":"running"}\n{"id":1,"type":"stream","text":"ä\\n"}\n' +
      '{"type":"heartbeat"}\n{"id":2,"type":"end","state":"succeeded"}\n';
    const bytes = new TextEncoder().encode(text);
    const settings = serverWith(
      () =>
        new Response(
          new ReadableStream({
            start(controller) {
              bytes.forEach(byte => controller.enqueue(new Uint8Array([byte])));
              controller.close();
            }
          })
        )
    );
    const events: IExecutionEvent[] = [];
    const signal = new AbortController().signal;
    for await (const event of followExecution(settings, 'x', 0, signal)) {
      events.push(event);
    }
    expect(events.map(({ type }) => type)).toEqual(['state', 'stream', 'heartbeat', 'end']);
    expect(events[1].text).toBe('ä\n');
  });

  it('yields nothing when nothing follows', async () => {
    const settings = serverWith(() => new Response(null, { status: 204 }));
    const signal = new AbortController().signal;
    for await (const event of followExecution(settings, 'x', 9, signal)) {
      expect.unreachable(event.type);
    }
  });
});
