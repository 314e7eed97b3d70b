/** The live list of executions. */
import { ServerConnection, type Event } from '@jupyterlab/services';
import { Poll } from '@lumino/polling';
import { Signal, type ISignal } from '@lumino/signaling';
import {
  ACTIVE_STATES,
  FINAL_STATES,
  getExecution,
  getPermissions,
  listExecutions,
  type IExecution
} from './restapi';
import { messageOf } from './format';
import type { IExecutionsModel, IFilter, IPermissions } from './tokens';

const EXECUTION_SCHEMA = 'https://events.jupyter.org/jupyter_exec_ext/execution/v1';

/** How many executions one request loads. */
const PAGE_SIZE = 50;

/** The longest list of active executions; the server runs far fewer at a time. */
const MAX_ACTIVE = 200;

/** How often the progress of active executions is loaded, and how often the list otherwise. */
const ACTIVE_INTERVAL = 2_000;
const IDLE_INTERVAL = 30_000;

const NO_PERMISSIONS: IPermissions = { canRead: false, canExecute: false, canDelete: false };

/**
 * Keeps a list of executions up to date.
 *
 * The server's event bus reports each change of state. It reports neither progress nor what
 * happened while the connection was cut, so the model also polls while the page is visible.
 */
export class ExecutionsModel implements IExecutionsModel {
  constructor(options: ExecutionsModel.IOptions) {
    this._settings = options.serverSettings;
    this._events = options.events;
    this._events.stream.connect(this._onEvent, this);
    this._poll = new Poll({
      auto: false,
      factory: () => this.refresh(),
      frequency: { interval: IDLE_INTERVAL, backoff: true, max: 5 * 60_000 },
      name: 'jupyter-exec-ext:executions',
      standby: 'when-hidden'
    });
    void this._start();
  }

  get executions(): readonly IExecution[] {
    return this._shown;
  }

  get activeCount(): number {
    return this._active.size;
  }

  get hasMore(): boolean {
    return this._nextPageToken !== '';
  }

  get problem(): string | null {
    return this._problem;
  }

  get permissions(): IPermissions {
    return this._permissions;
  }

  get filter(): IFilter {
    return this._filter;
  }

  set filter(filter: IFilter) {
    const isOtherList =
      filter.path !== this._filter.path || filter.states.join() !== this._filter.states.join();
    this._filter = filter;
    if (isOtherList) {
      this._finished.clear();
      this._nextPageToken = '';
      void this.refresh();
    }
    this._emitChanged();
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get ended(): ISignal<this, IExecution> {
    return this._ended;
  }

  get inputRequested(): ISignal<this, IExecution> {
    return this._inputRequested;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  async refresh(): Promise<void> {
    if (this._isDisposed || !this._permissions.canRead) {
      return;
    }
    try {
      await this._load();
      this._problem = null;
    } catch (reason) {
      this._problem = messageOf(reason);
      throw reason;
    } finally {
      this._emitChanged();
    }
  }

  async loadMore(): Promise<void> {
    if (!this._nextPageToken) {
      return;
    }
    const filter = this._filter;
    const page = await listExecutions(this._settings, {
      ...this._finishedQuery(),
      pageToken: this._nextPageToken
    });
    if (filter === this._filter) {
      page.executions.forEach(execution => this._finished.set(execution.id, execution));
      this._nextPageToken = page.next_page_token ?? '';
      this._emitChanged();
    }
  }

  get(id: string): IExecution | undefined {
    return this._active.get(id) ?? this._finished.get(id);
  }

  update(execution: IExecution): void {
    this._store(execution);
    this._emitChanged();
  }

  remove(id: string): void {
    this._active.delete(id);
    this._finished.delete(id);
    this._emitChanged();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._poll.dispose();
    this._events.stream.disconnect(this._onEvent, this);
    Signal.clearData(this);
  }

  private async _start(): Promise<void> {
    try {
      const granted = await getPermissions(this._settings);
      const executions = granted.executions ?? [];
      this._permissions = {
        canRead: executions.includes('read'),
        canExecute: executions.includes('execute') && (granted.kernels ?? []).includes('execute'),
        canDelete: executions.includes('write')
      };
    } catch (reason) {
      this._problem = messageOf(reason);
    }
    if (!this._isDisposed) {
      this._emitChanged();
      void this._poll.start();
    }
  }

  /** Load the active executions and the newest page of the others. */
  private async _load(): Promise<void> {
    const filter = this._filter;
    const [active, finished] = await Promise.all([
      listExecutions(this._settings, { states: ACTIVE_STATES, pageSize: MAX_ACTIVE }),
      listExecutions(this._settings, this._finishedQuery())
    ]);
    const gone = new Set(this._active.keys());
    for (const execution of active.executions) {
      gone.delete(execution.id);
      this._store(execution);
    }
    if (filter === this._filter) {
      finished.executions.forEach(execution => this._store(execution));
      if (!this._hasLoaded || this._finished.size <= PAGE_SIZE) {
        this._nextPageToken = finished.next_page_token ?? '';
      }
      this._hasLoaded = true;
    }
    // An execution that is active no longer has ended since the last time, or was deleted.
    await Promise.all([...gone].filter(id => this._active.has(id)).map(id => this._reload(id)));
  }

  private _finishedQuery(): { states: IExecution['state'][]; path: string; pageSize: number } {
    const wanted = this._filter.states.length ? this._filter.states : FINAL_STATES;
    return {
      states: FINAL_STATES.filter(state => wanted.includes(state)),
      path: this._filter.path,
      pageSize: PAGE_SIZE
    };
  }

  private async _reload(id: string): Promise<void> {
    try {
      this._store(await getExecution(this._settings, id, { full: false }));
    } catch (reason) {
      if (reason instanceof ServerConnection.ResponseError && reason.response.status === 404) {
        this._active.delete(id);
        return;
      }
      // What was shown stays: the server may only be away.
      this._problem = messageOf(reason);
    }
  }

  private _store(execution: IExecution): void {
    const before = this._active.get(execution.id);
    if (FINAL_STATES.includes(execution.state)) {
      this._active.delete(execution.id);
      this._finished.set(execution.id, execution);
      if (before) {
        this._ended.emit(execution);
      }
      return;
    }
    if (this._finished.has(execution.id)) {
      return; // A reply that was overtaken: a final state never changes.
    }
    this._active.set(execution.id, execution);
    if (execution.input_request && !before?.input_request) {
      this._inputRequested.emit(execution);
    }
  }

  private _onEvent(_: unknown, event: Event.Emission): void {
    if (event.schema_id !== EXECUTION_SCHEMA || !this._permissions.canRead) {
      return;
    }
    const id = event.execution_id;
    if (typeof id === 'string') {
      void this._reload(id).then(() => this._emitChanged());
    }
  }

  private _emitChanged(): void {
    if (this._isDisposed) {
      return;
    }
    const text = this._filter.text.toLowerCase();
    const { states, path } = this._filter;
    const all = [...newestFirst(this._active), ...newestFirst(this._finished)];
    this._shown = all.filter(
      execution =>
        (!states.length || states.includes(execution.state)) &&
        (!path || execution.source.path === path) &&
        (!text || searchedText(execution).includes(text))
    );
    const interval = this._active.size ? ACTIVE_INTERVAL : IDLE_INTERVAL;
    if (this._poll.frequency.interval !== interval) {
      this._poll.frequency = { ...this._poll.frequency, interval };
      void this._poll.schedule({ interval });
    }
    this._changed.emit();
  }

  private readonly _settings: ServerConnection.ISettings;
  private readonly _events: Event.IManager;
  private readonly _poll: Poll;
  private readonly _active = new Map<string, IExecution>();
  private readonly _finished = new Map<string, IExecution>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _ended = new Signal<this, IExecution>(this);
  private readonly _inputRequested = new Signal<this, IExecution>(this);
  private _shown: readonly IExecution[] = [];
  private _filter: IFilter = { states: [], path: '', text: '' };
  private _permissions = NO_PERMISSIONS;
  private _problem: string | null = null;
  private _nextPageToken = '';
  private _hasLoaded = false;
  private _isDisposed = false;
}

export namespace ExecutionsModel {
  export interface IOptions {
    readonly serverSettings: ServerConnection.ISettings;
    readonly events: Event.IManager;
  }
}

/** The name that lists show: the description, else what runs. */
export function nameOf(execution: IExecution): string {
  const { source } = execution;
  return (
    execution.description ||
    source.path?.split('/').pop() ||
    source.code?.split('\n', 1)[0].slice(0, 60) ||
    execution.type
  );
}

function newestFirst(executions: Map<string, IExecution>): IExecution[] {
  return [...executions.values()].sort((a, b) => b.created_time.localeCompare(a.created_time));
}

function searchedText(execution: IExecution): string {
  const { source, description, session_name, owner } = execution;
  return [source.path, source.code, description, session_name, owner].join('\n').toLowerCase();
}
