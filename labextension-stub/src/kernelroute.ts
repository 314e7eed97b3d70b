/** Sends what the cells of notebooks execute to the server, as executions in the notebook's kernel. */
import { ServerConnection, type Kernel } from '@jupyterlab/services';
import { UUID, type JSONObject } from '@lumino/coreutils';
import type { IEventFeed, IStarted } from './eventfeed';
import { ExecutionFuture, type CellFuture } from './executionfuture';
import { retrying } from './retrying';
import { attachSession, startCode, type ICodeRequest, type IOrigin } from './restapi';

type IContent = Parameters<Kernel.IKernelConnection['requestExecute']>[0];

/** What a route needs of the notebook whose kernel it is. */
export interface IRoutedNotebook {
  /** Whether cells of the notebook run as executions now. */
  isOn(): boolean;
  /** The path of the notebook on this server. */
  path(): string;
  /** Called with each execution that was accepted; *done* settles when it has ended. */
  onStarted(execution: IStarted, done: Promise<unknown>): void;
}

/** A request that was submitted, or is being submitted. */
interface ISubmitted {
  readonly future: ExecutionFuture;
  /** Resolves to the id of the execution; to `null` when it was sent to the kernel instead. */
  readonly id: Promise<string | null>;
}

/** The requests for one kernel, which are submitted one after the other. */
interface IQueue {
  tail: Promise<unknown>;
  /** The last request whose failure stops those that follow it. */
  last: ISubmitted | null;
}

/** Routes the requests of kernel connections, as long as the server takes them. */
export class KernelRouter {
  constructor(
    private readonly _settings: ServerConnection.ISettings,
    private readonly _feed: IEventFeed
  ) {}

  /**
   * Route the cells of *notebook* that are sent through *kernel*.
   *
   * Only the connection object of the notebook is changed: consoles have their own. A connection
   * is routed once, for the notebook that came first.
   */
  route(kernel: Kernel.IKernelConnection, notebook: IRoutedNotebook): void {
    if (this._routed.has(kernel) || kernel.serverSettings.baseUrl !== this._settings.baseUrl) {
      return;
    }
    this._routed.add(kernel);
    const plain = kernel.requestExecute.bind(kernel);
    kernel.requestExecute = (content, disposeOnDone, metadata) => {
      const send = (): CellFuture => plain(content, disposeOnDone, metadata);
      const cellId = cellIdOf(content, metadata);
      return cellId === null || this._isRefused || !notebook.isOn()
        ? send()
        : this._request(kernel, notebook, cellId, content, send);
    };
  }

  private _request(
    kernel: Kernel.IKernelConnection,
    notebook: IRoutedNotebook,
    cellId: string,
    content: IContent,
    send: () => CellFuture
  ): CellFuture {
    const queue = this._queueOf(kernel.id);
    // What comes after the end of the request before does not depend on it.
    const before = queue.last;
    const origin: IOrigin = { path: notebook.path(), cell_id: cellId };
    const accepted = queue.tail.then(async () => {
      const after = before && (await before.id.catch(() => undefined));
      if (before && after === undefined) {
        throw new Error('Canceled future: the request before it was not started');
      }
      return this._isRefused
        ? null
        : this._start(kernel.id, { code: content.code, origin, ...(after ? { after } : {}) });
    });
    queue.tail = accepted.catch(() => undefined);
    const start: Promise<IStarted | CellFuture> = accepted.then(execution => {
      if (execution) {
        notebook.onStarted(execution, future.done);
      }
      return execution ?? send();
    });
    const future: ExecutionFuture = new ExecutionFuture(this._settings, this._feed, content, start);
    if (content.stop_on_error !== false) {
      const submitted = { future, id: accepted.then(execution => execution?.id ?? null) };
      queue.last = submitted;
      const forget = (): void => {
        if (queue.last === submitted) {
          queue.last = null;
        }
      };
      future.done.then(forget, forget);
      submitted.id.catch(() => undefined);
    }
    return future;
  }

  /** Start an execution; return `null` when the server refuses all executions of this user. */
  private async _start(kernelId: string, request: ICellRequest): Promise<IStarted | null> {
    const key = UUID.uuid4();
    const { signal } = this._abort;
    let isNewSession = false;
    for (;;) {
      try {
        let sessionId = this._sessions.get(kernelId);
        if (sessionId === undefined) {
          isNewSession = true;
          sessionId = await retrying(() => attachSession(this._settings, kernelId), signal);
          this._sessions.set(kernelId, sessionId);
        }
        const body = { ...request, session_id: sessionId };
        return await retrying(() => startCode(this._settings, body, key), signal);
      } catch (reason) {
        if (!(reason instanceof ServerConnection.ResponseError)) {
          throw reason;
        }
        const { status } = reason.response;
        if (this._sessions.delete(kernelId) && !isNewSession && [404, 409].includes(status)) {
          continue; // The session has ended, for instance since it was not used for long.
        }
        if ([401, 403, 404].includes(status)) {
          this._isRefused = true;
          return null;
        }
        throw reason;
      }
    }
  }

  private _queueOf(kernelId: string): IQueue {
    let queue = this._queues.get(kernelId);
    if (!queue) {
      queue = { tail: Promise.resolve(), last: null };
      this._queues.set(kernelId, queue);
    }
    return queue;
  }

  private readonly _abort = new AbortController();
  private readonly _routed = new WeakSet<Kernel.IKernelConnection>();
  private readonly _queues = new Map<string, IQueue>();
  /** The sessions that are attached to kernels, by the ids of the kernels. */
  private readonly _sessions = new Map<string, string>();
  private _isRefused = false;
}

type ICellRequest = Omit<ICodeRequest, 'session_id'>;

/** Return the id of the cell that a request executes as cells do; `null` for other requests. */
function cellIdOf(content: IContent, metadata: JSONObject | undefined): string | null {
  const { silent, store_history: isStored, user_expressions: expressions } = content;
  const id = metadata?.cellId;
  const isUsual = !silent && isStored !== false && !Object.keys(expressions ?? {}).length;
  return isUsual && typeof id === 'string' ? id : null;
}
