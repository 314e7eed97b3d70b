/** The events of several executions, over one connection to the server. */
import { ServerConnection } from '@jupyterlab/services';
import { PromiseDelegate } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { pause } from './retrying';
import { followExecutions, getExecution, type IExecutionEvent } from './restapi';

const MIN_RETRY = 500;
const MAX_RETRY = 15_000;

/** How many executions of one session are followed: one of them runs, the others wait for it. */
const MAX_PER_SESSION = 5;

/** How many executions the server follows in one stream. */
const MAX_FOLLOWED = 50;

/** What the feed needs of an execution: a session runs its executions in the order of creation. */
export interface IStarted {
  readonly id: string;
  readonly session_id: string;
  readonly created_time: string;
}

export interface IEventFeed {
  /**
   * Pass the events of an execution to *take*, from the first one on, each after the one before.
   *
   * Resolve after the last event, when *signal* aborts, and when the server has no record of the
   * execution. Reject when *take* does.
   */
  follow(
    execution: IStarted,
    take: (event: IExecutionEvent) => Promise<void>,
    signal: AbortSignal
  ): Promise<void>;
}

interface IEntry {
  readonly execution: IStarted;
  readonly take: (event: IExecutionEvent) => Promise<void>;
  readonly done: PromiseDelegate<void>;
  /** The id of the last event that was passed on. */
  last: number;
}

/**
 * Follows executions with at most one connection, since a browser opens no more than six to a
 * server, over all its tabs. The server keeps all events: after a lost connection, and when other
 * executions are followed, the feed goes on after the last one.
 */
export class EventFeed implements IEventFeed, IDisposable {
  constructor(private readonly _settings: ServerConnection.ISettings) {}

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  async follow(
    execution: IStarted,
    take: (event: IExecutionEvent) => Promise<void>,
    signal: AbortSignal
  ): Promise<void> {
    const entry: IEntry = { execution, take, done: new PromiseDelegate(), last: -1 };
    const stop = (): void => this._remove(entry);
    signal.addEventListener('abort', stop);
    if (this._entries.some(known => known.execution.id === execution.id)) {
      // The cursor is after events that this follower does not have.
      this._cursor = '';
      this._connection.abort();
    }
    this._entries = [...this._entries, entry].sort((one, other) =>
      one.execution.created_time.localeCompare(other.execution.created_time)
    );
    this._reconnectIfNeeded();
    if (!this._isRunning) {
      void this._run();
    }
    try {
      await entry.done.promise;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  dispose(): void {
    this._isDisposed = true;
    [...this._entries].forEach(entry => this._remove(entry));
    this._connection.abort();
  }

  private async _run(): Promise<void> {
    this._isRunning = true;
    let retry = MIN_RETRY;
    while (this._entries.length && !this._isDisposed) {
      const { signal } = (this._connection = new AbortController());
      this._followed = this._wanted();
      try {
        const events = followExecutions(this._settings, this._followed, this._cursor, signal);
        for await (const event of events) {
          retry = MIN_RETRY;
          await this._pass(event);
          if (!signal.aborted) {
            this._cursor = event.cursor ?? this._cursor;
          }
        }
      } catch (reason) {
        if (!signal.aborted && isGone(reason)) {
          await this._removeGone();
        }
      }
      if (!signal.aborted && this._entries.some(({ execution }) => this._isFollowed(execution))) {
        await pause(retry, signal);
        retry = Math.min(2 * retry, MAX_RETRY);
      }
    }
    this._isRunning = false;
    this._cursor = '';
  }

  private async _pass(event: IExecutionEvent): Promise<void> {
    const { id, execution_id, type } = event;
    for (const entry of [...this._entries]) {
      if (entry.execution.id !== execution_id || (id !== undefined && id <= entry.last)) {
        continue;
      }
      entry.last = id ?? entry.last;
      try {
        await entry.take(event);
      } catch (reason) {
        entry.done.reject(reason);
        this._remove(entry);
      }
      if (type === 'end') {
        this._remove(entry);
      }
    }
  }

  /** The executions to follow: of each session the next ones. */
  private _wanted(): readonly string[] {
    const counts = new Map<string, number>();
    const wanted = new Set<string>();
    for (const { execution } of this._entries) {
      const count = counts.get(execution.session_id) ?? 0;
      if (count < MAX_PER_SESSION) {
        counts.set(execution.session_id, count + 1);
        wanted.add(execution.id);
      }
    }
    return [...wanted].slice(0, MAX_FOLLOWED);
  }

  /** Connect again when the connection lacks the next execution of a session. */
  private _reconnectIfNeeded(): void {
    const next = new Map<string, IStarted>();
    for (const { execution } of this._entries) {
      if (!next.has(execution.session_id)) {
        next.set(execution.session_id, execution);
      }
    }
    if ([...next.values()].some(execution => !this._isFollowed(execution))) {
      this._connection.abort();
    }
  }

  private _isFollowed({ id }: IStarted): boolean {
    return this._followed.includes(id);
  }

  private _remove(entry: IEntry): void {
    this._entries = this._entries.filter(known => known !== entry);
    entry.done.resolve();
    if (this._entries.length) {
      this._reconnectIfNeeded();
    } else {
      this._connection.abort();
    }
  }

  private async _removeGone(): Promise<void> {
    for (const entry of [...this._entries]) {
      try {
        await getExecution(this._settings, entry.execution.id, { full: false });
      } catch (reason) {
        if (isGone(reason)) {
          this._remove(entry);
        }
      }
    }
  }

  /** In the order in which the executions were created. */
  private _entries: IEntry[] = [];
  private _followed: readonly string[] = [];
  /** The position after the last event that was passed on; empty at the beginning. */
  private _cursor = '';
  private _connection = new AbortController();
  private _isRunning = false;
  private _isDisposed = false;
}

/** Whether the server has no such record, or no longer shows it to this user. */
function isGone(reason: unknown): boolean {
  return (
    reason instanceof ServerConnection.ResponseError && [403, 404].includes(reason.response.status)
  );
}
