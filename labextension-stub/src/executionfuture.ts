/** An execution of the server in the shape of a kernel's future, which cells and their outputs take. */
import { ServerConnection, type Kernel, type KernelMessage } from '@jupyterlab/services';
import { PromiseDelegate, UUID, type PartialJSONObject } from '@lumino/coreutils';
import type { IEventFeed, IStarted } from './eventfeed';
import { retrying } from './retrying';
import {
  answerInput,
  getExecution,
  type IExecutionError,
  type IExecutionEvent,
  type State
} from './restapi';

export type CellFuture = Kernel.IShellFuture<
  KernelMessage.IExecuteRequestMsg,
  KernelMessage.IExecuteReplyMsg
>;

type IOPubHook = (msg: KernelMessage.IIOPubMessage) => boolean | PromiseLike<boolean>;

type IContent = KernelMessage.IExecuteRequestMsg['content'];

/** Errors of a kernel or a server that is gone: a cell then loses its prompt, as in JupyterLab. */
const LOST: readonly string[] = [
  'KernelDied',
  'KernelRestarted',
  'SessionLost',
  'ServerStopped',
  'ServerRestarted'
];

/**
 * Follows an execution and reports it as the messages of a kernel.
 *
 * JupyterLab ignores a rejected future whose message begins with "Canceled": the cell ends quietly.
 */
export class ExecutionFuture implements CellFuture {
  /**
   * @param start - Resolves to the execution; or, when the server refused it, to a request that
   *   was sent to the kernel instead.
   */
  constructor(
    private readonly _settings: ServerConnection.ISettings,
    private readonly _feed: IEventFeed,
    content: IContent,
    start: Promise<IStarted | CellFuture>
  ) {
    this.msg = message('shell', 'execute_request', content, {}) as KernelMessage.IExecuteRequestMsg;
    this._done.promise.catch(() => undefined); // Not everybody waits for it.
    this._run(start).catch(reason => this._done.reject(reason));
  }

  readonly msg: KernelMessage.IExecuteRequestMsg;

  get done(): Promise<KernelMessage.IExecuteReplyMsg> {
    return this._done.promise;
  }

  get isDisposed(): boolean {
    return this._abort.signal.aborted;
  }

  onReply: CellFuture['onReply'] = () => undefined;
  onIOPub: CellFuture['onIOPub'] = () => undefined;
  onStdin: CellFuture['onStdin'] = () => undefined;

  registerMessageHook(hook: IOPubHook): void {
    this._hooks.push(hook);
  }

  removeMessageHook(hook: IOPubHook): void {
    this._hooks = this._hooks.filter(known => known !== hook);
  }

  sendInputReply(
    content: KernelMessage.IInputReplyMsg['content'],
    parentHeader: KernelMessage.IInputReplyMsg['parent_header']
  ): void {
    if (this._plain) {
      this._plain.sendInputReply(content, parentHeader);
    } else if (content.status === 'ok') {
      const { value } = content;
      // The server refuses an answer to a request that was answered elsewhere or has ended.
      retrying(() => answerInput(this._settings, this._id, value), this._abort.signal).catch(
        () => undefined
      );
    }
  }

  /** Stop following; the execution goes on. */
  dispose(): void {
    if (!this.isDisposed) {
      this._abort.abort();
      this._plain?.dispose();
      this._done.reject(new Error('Canceled future: it was disposed before the execution ended'));
    }
  }

  private async _run(start: Promise<IStarted | CellFuture>): Promise<void> {
    const started = await start.catch((reason: unknown) => this._fail(reason));
    if (!started) {
      return;
    }
    if ('onReply' in started) {
      await this._passOn(started);
      return;
    }
    this._id = started.id;
    if (!this.isDisposed) {
      await this._feed.follow(started, event => this._take(event), this._abort.signal);
    }
    // Without effect when it is done.
    this._done.reject(new Error('Canceled future: the record of the execution was deleted'));
  }

  /** Show in the cell why its execution was not started. */
  private async _fail(reason: unknown): Promise<void> {
    const text = reason instanceof Error ? reason.message : String(reason);
    if (this.isDisposed || text.startsWith('Canceled')) {
      throw reason;
    }
    await this._end({ type: 'end', state: 'failed' }, { code: 'NotStarted', message: text });
  }

  /** Let a request of the kernel's own connection take the place of the execution. */
  private async _passOn(plain: CellFuture): Promise<void> {
    this._plain = plain;
    if (this.isDisposed) {
      plain.dispose();
      return;
    }
    plain.onIOPub = msg => this._publish(msg);
    plain.onStdin = msg => this.onStdin(msg);
    plain.onReply = msg => this.onReply(msg);
    this._done.resolve(await plain.done);
  }

  private async _take(event: IExecutionEvent): Promise<void> {
    switch (event.type) {
      case 'state':
        if (event.state === 'running') {
          this._startTime = event.time;
          await this._report('status', { execution_state: 'busy' }, event);
        }
        break;
      case 'execution_count':
        if (event.execution_count !== undefined) {
          await this._count(event.execution_count, event);
        }
        break;
      case 'stream':
        await this._report('stream', { name: event.name, text: event.text }, event);
        break;
      case 'output':
        await this._output(event);
        break;
      case 'update': {
        const { data, metadata = {}, display_id } = event;
        await this._report(
          'update_display_data',
          { data, metadata, transient: { display_id } },
          event
        );
        break;
      }
      case 'clear':
        await this._report('clear_output', { wait: event.wait ?? false }, event);
        break;
      case 'payload':
        if (event.payload) {
          this._payloads.push(event.payload);
        }
        break;
      case 'input_request':
        await this._ask(event);
        break;
      case 'gap':
        this._hasGap = true;
        break;
      case 'error':
        this._error = event.error;
        break;
      case 'end':
        await this._end(event, this._error);
    }
  }

  private async _count(count: number, event: IExecutionEvent): Promise<void> {
    const isFirst = this._executionCount === null;
    this._executionCount = count;
    if (isFirst) {
      const content = { code: this.msg.content.code, execution_count: count };
      await this._report('execute_input', content, event);
    }
  }

  private async _output(event: IExecutionEvent): Promise<void> {
    if (event.output) {
      const { output_type, ...content } = event.output;
      const transient = event.display_id ? { display_id: event.display_id } : {};
      await this._report(output_type, { ...content, transient }, event);
    }
  }

  /** Show the box for an input request that is open; the events also have those of before. */
  private async _ask(event: IExecutionEvent): Promise<void> {
    const signal = this._abort.signal;
    const { input_request: open } = await retrying(
      () => getExecution(this._settings, this._id, { full: false }),
      signal
    );
    if (open?.event_id === event.id) {
      const content = { prompt: event.prompt ?? '', password: event.password ?? false };
      const header = this.msg.header;
      const msg = message('stdin', 'input_request', content, { header, date: event.time });
      await this.onStdin(msg as KernelMessage.IInputRequestMsg);
    }
  }

  private async _end(event: IExecutionEvent, error: IExecutionError | undefined): Promise<void> {
    const isCancelled = event.state === 'cancelled' || LOST.includes(error?.code ?? '');
    if (this._hasGap) {
      await this._showRecord();
    } else if (error && !error.ename && !isCancelled) {
      // No code raised it, so no output shows it.
      const content = { ename: error.code, evalue: error.message, traceback: [] };
      await this._report('error', content, event);
    }
    await this._report('status', { execution_state: 'idle' }, event);
    if (isCancelled) {
      throw new Error(`Canceled future: ${error?.message ?? 'the execution was cancelled'}`);
    }
    const reply = this._reply(event, error);
    await this.onReply(reply);
    this._done.resolve(reply);
  }

  private _reply(
    event: IExecutionEvent,
    error: IExecutionError | undefined
  ): KernelMessage.IExecuteReplyMsg {
    const outcome = error
      ? {
          status: 'error',
          ename: error.ename ?? error.code,
          evalue: error.evalue ?? error.message,
          traceback: [...(error.traceback ?? [])]
        }
      : { status: 'ok', payload: this._payloads, user_expressions: {} };
    const content = { ...outcome, execution_count: this._executionCount };
    return message('shell', 'execute_reply', content, {
      header: this.msg.header,
      date: event.time,
      metadata: this._startTime ? { started: this._startTime } : {}
    }) as KernelMessage.IExecuteReplyMsg;
  }

  /** Replace the outputs by those of the record, since some events were deleted. */
  private async _showRecord(): Promise<void> {
    const { result } = await retrying(
      () => getExecution(this._settings, this._id, { full: true }),
      this._abort.signal
    );
    await this._report('clear_output', { wait: false }, {});
    for (const { output_type, ...content } of result?.outputs ?? []) {
      await this._report(output_type, content, {});
    }
  }

  private async _report(
    type: string,
    content: object,
    { time }: { readonly time?: string }
  ): Promise<void> {
    const { header } = this.msg;
    const msg = message('iopub', type, content, { header, date: time });
    await this._publish(msg as KernelMessage.IIOPubMessage);
  }

  private async _publish(msg: KernelMessage.IIOPubMessage): Promise<void> {
    for (const hook of [...this._hooks].reverse()) {
      if (this._hooks.includes(hook) && !(await hook(msg))) {
        return;
      }
    }
    await this.onIOPub(msg);
  }

  private readonly _abort = new AbortController();
  private readonly _done = new PromiseDelegate<KernelMessage.IExecuteReplyMsg>();
  private readonly _payloads: PartialJSONObject[] = [];
  private _hooks: IOPubHook[] = [];
  private _id = '';
  private _plain: CellFuture | null = null;
  private _startTime: string | undefined;
  private _error: IExecutionError | undefined;
  private _executionCount: number | null = null;
  private _hasGap = false;
}

/** Whether the execution in this state, with this error, gave its cell a result. */
export function hasResult(state: State, error: IExecutionError | undefined): boolean {
  return state === 'succeeded' || (state === 'failed' && !LOST.includes(error?.code ?? ''));
}

/** Return a message of a kernel, in answer to *header*. */
function message(
  channel: string,
  type: string,
  content: object,
  options: {
    readonly header?: KernelMessage.IHeader;
    readonly date?: string;
    readonly metadata?: PartialJSONObject;
  }
): unknown {
  return {
    channel,
    header: {
      date: options.date ?? new Date().toISOString(),
      msg_id: UUID.uuid4(),
      msg_type: type,
      session: SESSION,
      username: '',
      version: '5.3'
    },
    parent_header: options.header ?? {},
    metadata: options.metadata ?? {},
    content
  };
}

/** The session of all messages that are made here; no kernel sees it. */
const SESSION = UUID.uuid4();
