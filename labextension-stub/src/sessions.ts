/** The live list of sessions. */
import type { Event, ServerConnection } from '@jupyterlab/services';
import { Poll, Throttler } from '@lumino/polling';
import { Signal, type ISignal } from '@lumino/signaling';
import { messageOf } from './format';
import { listSessions, type ISession } from './restapi';
import { loadPermissions, NO_PERMISSIONS, type IPermissions } from './rights';
import type { ISessionsModel } from './tokens';

const SESSION_SCHEMA = 'https://events.jupyter.org/jupyter_exec_ext/session/v1';
const EXECUTION_SCHEMA = 'https://events.jupyter.org/jupyter_exec_ext/execution/v1';

/** The longest list of sessions; a server has far fewer kernels. */
const MAX_SESSIONS = 200;

const INTERVAL = 30_000;

/** Many executions can start and end within a second. */
const MIN_INTERVAL = 1_000;

/**
 * Keeps a list of sessions up to date.
 *
 * The event bus reports that a session begins or ends. What it does and what waits in it changes
 * with each execution: that is loaded only while the list is watched.
 */
export class SessionsModel implements ISessionsModel {
  constructor(options: SessionsModel.IOptions) {
    this._settings = options.serverSettings;
    this._events = options.events;
    this._events.stream.connect(this._onEvent, this);
    this._throttler = new Throttler(() => this._poll.refresh(), MIN_INTERVAL);
    this._poll = new Poll({
      auto: false,
      factory: () => this.refresh(),
      frequency: { interval: INTERVAL, backoff: true, max: INTERVAL },
      name: 'jupyter-exec-ext:sessions',
      standby: 'when-hidden'
    });
    void this._poll.start();
  }

  get sessions(): readonly ISession[] {
    return [...this._sessions.values()];
  }

  get hasMore(): boolean {
    return this._hasMore;
  }

  get problem(): string | null {
    return this._problem;
  }

  get permissions(): IPermissions {
    return this._permissions;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  get isWatched(): boolean {
    return this._isWatched;
  }

  set isWatched(isWatched: boolean) {
    this._isWatched = isWatched;
    if (isWatched) {
      this.refresh().catch(() => undefined);
    }
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
      if (this._permissions.canReadSessions) {
        const page = await listSessions(this._settings, { pageSize: MAX_SESSIONS });
        this._sessions = new Map(page.sessions.map(session => [session.id, session]));
        this._hasMore = page.next_page_token !== undefined;
      }
      this._problem = null;
    } catch (reason) {
      this._problem = messageOf(reason);
      throw reason;
    } finally {
      this._emitChanged();
    }
  }

  get(id: string): ISession | undefined {
    return this._sessions.get(id);
  }

  update(session: ISession): void {
    if (session.state === 'ended') {
      this._sessions.delete(session.id);
    } else {
      this._sessions.set(session.id, session);
    }
    this._emitChanged();
  }

  remove(id: string): void {
    this._sessions.delete(id);
    this._emitChanged();
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._throttler.dispose();
      this._poll.dispose();
      this._events.stream.disconnect(this._onEvent, this);
      Signal.clearData(this);
    }
  }

  private _onEvent(_: unknown, event: Event.Emission): void {
    const matters =
      event.schema_id === SESSION_SCHEMA ||
      (event.schema_id === EXECUTION_SCHEMA && this._isWatched);
    if (matters) {
      this._throttler.invoke().catch(() => undefined);
    }
  }

  private _emitChanged(): void {
    if (!this._isDisposed) {
      this._changed.emit();
    }
  }

  private readonly _settings: ServerConnection.ISettings;
  private readonly _events: Event.IManager;
  private readonly _poll: Poll;
  private readonly _throttler: Throttler;
  private readonly _changed = new Signal<this, void>(this);
  private _sessions = new Map<string, ISession>();
  private _permissions = NO_PERMISSIONS;
  private _hasPermissions = false;
  private _hasMore = false;
  private _problem: string | null = null;
  private _isWatched = false;
  private _isDisposed = false;
}

export namespace SessionsModel {
  export interface IOptions {
    readonly serverSettings: ServerConnection.ISettings;
    readonly events: Event.IManager;
  }
}

/** The name that lists show: that of the session, else its description or the begin of its id. */
export function sessionName(session: ISession): string {
  return session.name || session.description || session.id.slice(0, 8);
}
