/** The live list of executions. */
import { ServerConnection, type Event } from '@jupyterlab/services';
import { Poll } from '@lumino/polling';
import { Signal, type ISignal } from '@lumino/signaling';
import {
  ACTIVE_STATES,
  FINAL_STATES,
  getExecution,
  listExecutions,
  type IExecution,
  type IExecutionPage,
  type State
} from './restapi';
import { messageOf } from './format';
import { loadPermissions, NO_PERMISSIONS, type IPermissions } from './rights';
import type { IExecutionsModel, IFilter } from './tokens';

const EXECUTION_SCHEMA = 'https://events.jupyter.org/jupyter_exec_ext/execution/v1';

/** How many executions one request loads, and how many rows are shown at first. */
const PAGE_SIZE = 50;

/** How many executions one request loads to search them, and how many such requests in a row. */
const SEARCH_PAGE_SIZE = 1_000;
const MAX_SEARCH_PAGES = 20;

/** The longest list of notebooks to filter by. */
const MAX_PATHS = 500;

/** The longest list of active executions; the server runs far fewer at a time. */
const MAX_ACTIVE = 200;

/** How often the progress of active executions is loaded, and how often the list otherwise. */
const ACTIVE_INTERVAL = 2_000;
const IDLE_INTERVAL = 30_000;

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
      frequency: { interval: IDLE_INTERVAL, backoff: true, max: IDLE_INTERVAL },
      name: 'jupyter-exec-ext:executions',
      standby: 'when-hidden'
    });
    document.addEventListener('visibilitychange', this._onVisibilityChange);
    void this._poll.start();
  }

  get executions(): readonly IExecution[] {
    return this._shown;
  }

  get activeCount(): number {
    return this._active.size;
  }

  get hasMore(): boolean {
    return this._nextPageToken !== '' || this._matchCount > this._limit;
  }

  get isLoadingMore(): boolean {
    return this._filling !== null;
  }

  get paths(): readonly string[] {
    return [...this._paths].sort();
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
    this._limit = PAGE_SIZE;
    this._emitChanged();
    (isOtherList ? this.reset() : this._fill()).catch(() => undefined);
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
    if (this._isDisposed) {
      return;
    }
    try {
      if (!this._hasPermissions) {
        this._permissions = await loadPermissions(this._settings);
        this._hasPermissions = true;
      }
      if (this._permissions.canRead) {
        await this._load();
      }
      this._problem = null;
    } catch (reason) {
      this._problem = messageOf(reason);
      throw reason;
    } finally {
      this._emitChanged();
    }
  }

  loadMore(): Promise<void> {
    this._limit += PAGE_SIZE;
    this._emitChanged();
    return this._fill();
  }

  reset(): Promise<void> {
    this._finished.clear();
    this._nextPageToken = '';
    this._hasLoaded = false;
    return this.refresh();
  }

  get(id: string): IExecution | undefined {
    return this._active.get(id) ?? this._finished.get(id);
  }

  update(execution: IExecution): void {
    const { state, id, created_time: created } = execution;
    const isBelowList =
      this._nextPageToken !== '' && !this.get(id) && created < (this._oldest ?? created);
    if (isBelowList && FINAL_STATES.includes(state)) {
      return; // It comes with its page: between it and the list others are missing.
    }
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
    document.removeEventListener('visibilitychange', this._onVisibilityChange);
    this._events.stream.disconnect(this._onEvent, this);
    Signal.clearData(this);
  }

  /** Load the active executions and the newest page of the others. */
  private async _load(): Promise<void> {
    const filter = this._filter;
    const gone = new Set(this._active.keys());
    const query = { states: ACTIVE_STATES, pageSize: MAX_ACTIVE };
    for (const execution of (await listExecutions(this._settings, query)).executions) {
      gone.delete(execution.id);
      this._store(execution);
    }
    const finished = await listExecutions(this._settings, this._finishedQuery(PAGE_SIZE));
    if (filter === this._filter) {
      this._takeNewest(finished);
      await this._fill();
    }
    // An execution that is active no longer has ended since the last time, or was deleted.
    for (const id of gone) {
      if (this._active.has(id)) {
        await this._reload(id);
      }
    }
  }

  /** Bring the newest page into the list, which may have many pages already. */
  private _takeNewest(page: IExecutionPage): void {
    const { executions, next_page_token: token = '' } = page;
    const last = executions.at(-1);
    const overlaps = executions.some(({ id }) => this._finished.has(id));
    if (!this._hasLoaded || !token || !overlaps) {
      // The first load, all that there is, or more new ones than a page has.
      executions
        .filter(({ id }) => this._active.has(id))
        .forEach(execution => this._store(execution));
      this._finished.clear();
      this._nextPageToken = token;
      this._oldest = last?.created_time ?? null;
    } else if (last) {
      const ids = new Set(executions.map(({ id }) => id));
      for (const { id, created_time: created } of this._finished.values()) {
        if (created >= last.created_time && !ids.has(id)) {
          this._finished.delete(id); // Deleted on the server.
        }
      }
    }
    executions.forEach(execution => this._store(execution));
    this._hasLoaded = true;
  }

  /** Load pages until there are as many matches as rows to show; one load at a time. */
  private async _fill(): Promise<void> {
    if (!this._lacksRows()) {
      return;
    }
    this._filling ??= this._loadPages().finally(() => {
      this._filling = null;
      this._emitChanged();
    });
    await this._filling;
  }

  private _lacksRows(): boolean {
    return this._nextPageToken !== '' && this._matching(this._finished).length < this._limit;
  }

  private async _loadPages(): Promise<void> {
    for (let count = 0; count < MAX_SEARCH_PAGES; count++) {
      if (this._isDisposed || !this._lacksRows()) {
        return;
      }
      this._emitChanged();
      const pageToken = this._nextPageToken;
      const size = this._filter.text ? SEARCH_PAGE_SIZE : PAGE_SIZE;
      const page = await listExecutions(this._settings, {
        ...this._finishedQuery(size),
        pageToken
      });
      if (pageToken === this._nextPageToken) {
        page.executions.forEach(execution => this._store(execution));
        this._nextPageToken = page.next_page_token ?? '';
        this._oldest = page.executions.at(-1)?.created_time ?? this._oldest;
      }
    }
  }

  private _finishedQuery(pageSize: number): { states: State[]; path: string; pageSize: number } {
    const wanted = this._filter.states.length ? this._filter.states : FINAL_STATES;
    return {
      states: FINAL_STATES.filter(state => wanted.includes(state)),
      path: this._filter.path,
      pageSize
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
    const { path } = execution.source;
    if (path && this._paths.size < MAX_PATHS) {
      this._paths.add(path);
    }
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
    const { input_request: request } = execution;
    const known = before?.input_request;
    if (request && (!known || known.event_id !== request.event_id)) {
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
    const finished = this._matching(this._finished);
    this._matchCount = finished.length;
    this._shown = [...this._matching(this._active), ...finished.slice(0, this._limit)];
    const interval = this._active.size ? ACTIVE_INTERVAL : IDLE_INTERVAL;
    if (this._poll.frequency.interval !== interval) {
      this._poll.frequency = { ...this._poll.frequency, interval };
      void this._poll.schedule({ interval });
    }
    this._changed.emit();
  }

  /** Return the executions that match the filter, the newest first. */
  private _matching(executions: Map<string, IExecution>): IExecution[] {
    const text = this._filter.text.toLowerCase();
    const { states, path } = this._filter;
    return newestFirst(executions).filter(
      execution =>
        (!states.length || states.includes(execution.state)) &&
        (!path || execution.source.path === path) &&
        (!text || searchedText(execution).includes(text))
    );
  }

  /** The poll stands still while the page is hidden. */
  private readonly _onVisibilityChange = (): void => {
    if (!document.hidden) {
      this.refresh().catch(() => undefined);
    }
  };

  private readonly _settings: ServerConnection.ISettings;
  private readonly _events: Event.IManager;
  private readonly _poll: Poll;
  private readonly _active = new Map<string, IExecution>();
  private readonly _finished = new Map<string, IExecution>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _ended = new Signal<this, IExecution>(this);
  private readonly _inputRequested = new Signal<this, IExecution>(this);
  private readonly _paths = new Set<string>();
  private _filling: Promise<void> | null = null;
  private _limit = PAGE_SIZE;
  private _matchCount = 0;
  private _oldest: string | null = null;
  private _hasPermissions = false;
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
  return [...executions.values()].sort((a, b) =>
    a.created_time < b.created_time ? 1 : a.created_time > b.created_time ? -1 : 0
  );
}

function searchedText(execution: IExecution): string {
  const { source, description, session_name, owner } = execution;
  return [source.path, source.code, description, session_name, owner].join('\n').toLowerCase();
}
