import type { KernelMessage } from '@jupyterlab/services';
import { describe, expect, it } from 'vitest';
import type { IEventFeed } from '../src/eventfeed';
import { ExecutionFuture, type CellFuture } from '../src/executionfuture';
import type { IExecution, IExecutionEvent } from '../src/restapi';
import { execution, json, serverWith, type Answer } from './executions';
import { until } from './waiting';

/** A feed with these events. */
function feedOf(...events: IExecutionEvent[]): IEventFeed {
  return {
    follow: async (_, take) => {
      for (const event of events) {
        await take(event);
      }
    }
  };
}

interface IReported {
  readonly type: string;
  readonly content: object;
  readonly date: string;
}

class Cell {
  constructor(
    feed: IEventFeed,
    options: { answer?: Answer; start?: Promise<IExecution | CellFuture> } = {}
  ) {
    const settings = serverWith(options.answer ?? (() => json({ message: 'unexpected' }, 500)));
    const start = options.start ?? Promise.resolve(execution({ id: 'id' }));
    this.future = new ExecutionFuture(settings, feed, { code: 'code' }, start);
    this.future.onIOPub = msg => {
      const { header, content } = msg;
      this.reported.push({ type: header.msg_type, content, date: header.date });
    };
    this.future.onStdin = msg => void this.asked.push(msg as KernelMessage.IInputRequestMsg);
  }

  readonly future: ExecutionFuture;
  readonly reported: IReported[] = [];
  readonly asked: KernelMessage.IInputRequestMsg[] = [];

  contentsOf(type: string): object[] {
    return this.reported.filter(known => known.type === type).map(({ content }) => content);
  }
}

const RUNNING: IExecutionEvent = {
  id: 1,
  type: 'state',
  state: 'running',
  time: '2026-11-30T10:00:00Z'
};
const COUNT: IExecutionEvent = {
  id: 2,
  type: 'execution_count',
  execution_count: 7,
  time: '2026-11-30T10:00:01Z'
};
const END: IExecutionEvent = {
  id: 9,
  type: 'end',
  state: 'succeeded',
  time: '2026-11-30T10:00:09Z'
};

describe('ExecutionFuture', () => {
  it('reports outputs as the messages of a kernel, at their times', async () => {
    const html = { output_type: 'display_data', data: { 'text/html': '<b>1</b>' }, metadata: {} };
    const cell = new Cell(
      feedOf(
        RUNNING,
        COUNT,
        { id: 3, type: 'stream', name: 'stdout', text: 'printed' },
        { id: 4, type: 'output', output: html, display_id: 'd' },
        { id: 5, type: 'update', display_id: 'd', data: { 'text/html': '2' }, metadata: {} },
        { id: 6, type: 'clear', wait: true },
        { id: 7, type: 'payload', payload: { source: 'set_next_input', text: 'x' } },
        END
      )
    );
    const reply = await cell.future.done;

    expect(cell.reported.map(({ type }) => type)).toEqual([
      'status',
      'execute_input',
      'stream',
      'display_data',
      'update_display_data',
      'clear_output',
      'status'
    ]);
    expect(cell.contentsOf('status')).toEqual([
      { execution_state: 'busy' },
      { execution_state: 'idle' }
    ]);
    expect(cell.contentsOf('display_data')[0]).toMatchObject({ transient: { display_id: 'd' } });
    expect(cell.reported[0].date).toBe(RUNNING.time);
    expect(reply.content).toMatchObject({
      status: 'ok',
      execution_count: 7,
      payload: [{ source: 'set_next_input', text: 'x' }]
    });
    expect(reply.header.date).toBe(END.time);
    expect(reply.metadata).toEqual({ started: RUNNING.time });
  });

  it('lets the hook that was registered last stop a message', async () => {
    const cell = new Cell(feedOf({ id: 1, type: 'stream', name: 'stdout', text: 'a' }, END));
    const seen: string[] = [];
    cell.future.registerMessageHook(() => {
      seen.push('first');
      return true;
    });
    cell.future.registerMessageHook(msg => {
      seen.push('last');
      return msg.header.msg_type !== 'stream';
    });
    await cell.future.done;

    expect(seen).toEqual(['last', 'last', 'first']);
    expect(cell.contentsOf('stream')).toEqual([]);
  });

  it('replies with the error of the code', async () => {
    const error = {
      code: 'CodeError',
      message: 'the code raised',
      ename: 'ValueError',
      evalue: 'bad',
      traceback: ['line']
    };
    const cell = new Cell(
      feedOf(COUNT, { id: 8, type: 'error', error }, { ...END, state: 'failed' })
    );

    expect((await cell.future.done).content).toMatchObject({
      status: 'error',
      ename: 'ValueError',
      evalue: 'bad',
      traceback: ['line'],
      execution_count: 7
    });
    expect(cell.contentsOf('error')).toEqual([]);
  });

  it('shows a failure that no code raised', async () => {
    const error = { code: 'Timeout', message: 'the time limit passed' };
    const cell = new Cell(feedOf({ id: 8, type: 'error', error }, { ...END, state: 'failed' }));

    expect((await cell.future.done).content.status).toBe('error');
    expect(cell.contentsOf('error')).toEqual([
      { ename: 'Timeout', evalue: 'the time limit passed', traceback: [] }
    ]);
  });

  it.each(['KernelDied', 'KernelRestarted', 'SessionLost', 'ServerStopped', 'ServerRestarted'])(
    'is cancelled by %s, as a request to a kernel that is gone',
    async code => {
      const error = { code, message: 'it is gone' };
      const cell = new Cell(feedOf({ id: 8, type: 'error', error }, { ...END, state: 'failed' }));
      await expect(cell.future.done).rejects.toThrow(/^Canceled/);
    }
  );

  it('is cancelled when the execution is, or when its record is gone', async () => {
    const cancelled = new Cell(feedOf({ ...END, state: 'cancelled' }));
    await expect(cancelled.future.done).rejects.toThrow(/^Canceled/);
    const error = { code: 'PredecessorNotSucceeded', message: 'the one before failed' };
    const behind = new Cell(
      feedOf({ id: 8, type: 'error', error }, { ...END, state: 'cancelled' })
    );
    await expect(behind.future.done).rejects.toThrow(/^Canceled/);
    expect(behind.contentsOf('error')).toEqual([]);
    await expect(new Cell(feedOf()).future.done).rejects.toThrow(/^Canceled/);
  });

  it('asks for input only where the request is still open', async () => {
    const answers: unknown[] = [];
    const cell = new Cell(
      feedOf(
        { id: 3, type: 'input_request', prompt: 'old', password: false },
        { id: 5, type: 'input_request', prompt: 'open', password: true }
      ),
      {
        answer: async (request, url) => {
          if (url.pathname.endsWith('/input')) {
            answers.push(await request.json());
          }
          const open = { prompt: 'open', password: true, event_id: 5 };
          return json(execution({ id: 'id', state: 'running', input_request: open }));
        }
      }
    );
    await until(() => cell.asked.length > 0);

    expect(cell.asked.map(({ content }) => content)).toEqual([{ prompt: 'open', password: true }]);
    cell.future.sendInputReply({ status: 'ok', value: 'text' }, cell.asked[0].header);
    await until(() => answers.length > 0);
    expect(answers).toEqual([{ value: 'text' }]);
  });

  it('shows the outputs of the record when events are missing', async () => {
    const outputs = [{ output_type: 'stream', name: 'stdout', text: 'all of it' }];
    const cell = new Cell(
      feedOf(
        { id: 1, type: 'stream', name: 'stdout', text: 'beginning' },
        { type: 'gap', lost: 5 },
        END
      ),
      {
        answer: () =>
          json(execution({ id: 'id', result: { outputs, stdout: '', stderr: '', variables: {} } }))
      }
    );
    await cell.future.done;

    expect(cell.reported.map(({ type }) => type)).toEqual([
      'stream',
      'clear_output',
      'stream',
      'status'
    ]);
    expect(cell.contentsOf('stream')[1]).toEqual({ name: 'stdout', text: 'all of it' });
  });

  it('shows why the server refused the code', async () => {
    const start = Promise.reject<IExecution>(new Error('the code is too long'));
    const cell = new Cell(feedOf(), { start });

    expect((await cell.future.done).content).toMatchObject({ evalue: 'the code is too long' });
    expect(cell.contentsOf('error')).toHaveLength(1);
  });

  it('stops following when it is disposed', async () => {
    let signal: AbortSignal | undefined;
    const feed: IEventFeed = {
      follow: async (_, __, given) => {
        signal = given;
        await new Promise(resolve => given.addEventListener('abort', resolve));
      }
    };
    const cell = new Cell(feed);
    await until(() => signal !== undefined);

    cell.future.dispose();

    expect(signal?.aborted).toBe(true);
    await expect(cell.future.done).rejects.toThrow(/^Canceled/);
  });
});
