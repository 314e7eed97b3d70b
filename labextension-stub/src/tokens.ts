import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import type { IExecution, ISession, State } from './restapi';
import type { IPermissions } from './rights';

export type { IPermissions } from './rights';

/** The name of the plugins, of their settings and of their translations. */
export const PLUGIN_ID = 'jupyter-exec-ext:plugin';

/** The name of the plugin that runs cells on the server, and of its settings. */
export const CELLS_PLUGIN_ID = 'jupyter-exec-ext:cells';

/** The domain of the translations. */
export const TRANSLATION_DOMAIN = 'jupyter_exec_ext';

/** What the list of executions is restricted to. An empty field restricts nothing. */
export interface IFilter {
  /** Only executions in one of these states. */
  readonly states: readonly State[];
  /** Only executions of the notebook at this path. */
  readonly path: string;
  /** Only executions whose name, path or description contains this text, in any case. */
  readonly text: string;
}

/** The executions of the server, kept up to date. */
export interface IExecutionsModel extends IDisposable {
  /** The executions that match the filter and are loaded: active ones first, then the newest. */
  readonly executions: readonly IExecution[];
  /** How many executions wait or run, whatever the filter. */
  readonly activeCount: number;
  /** Whether the server has more executions that match the filter. */
  readonly hasMore: boolean;
  /** Whether older executions are being loaded. */
  readonly isLoadingMore: boolean;
  /** The paths of the notebooks that were run, as far as the list was loaded, in order. */
  readonly paths: readonly string[];
  /** Why the list could not be loaded; `null` when the list is up to date. */
  readonly problem: string | null;
  readonly permissions: IPermissions;
  filter: IFilter;
  /** Emitted after each change of the properties above. */
  readonly changed: ISignal<IExecutionsModel, void>;
  /** Emitted when an execution enters a final state while this page is open. */
  readonly ended: ISignal<IExecutionsModel, IExecution>;
  /** Emitted when an execution begins to wait for input. */
  readonly inputRequested: ISignal<IExecutionsModel, IExecution>;
  /** Load the list from the server. */
  refresh(): Promise<void>;
  /** Load and show more executions that match the filter. */
  loadMore(): Promise<void>;
  /** Forget what is loaded, and load it again: for changes that no event reports. */
  reset(): Promise<void>;
  /** Return the loaded execution with this id, if there is one. */
  get(id: string): IExecution | undefined;
  /** Add or replace one execution, as the server answered it. */
  update(execution: IExecution): void;
  /** Remove an execution that the server has deleted. */
  remove(id: string): void;
}

/** The executions of the server, for other extensions. */
export const IExecutionsModel = new Token<IExecutionsModel>(
  'jupyter-exec-ext:IExecutionsModel',
  'A live list of the executions of the server.'
);

/** The sessions of the server that have not ended, kept up to date. */
export interface ISessionsModel extends IDisposable {
  /** The newest first. */
  readonly sessions: readonly ISession[];
  /** Whether the server has more sessions than the list. */
  readonly hasMore: boolean;
  /** Why the list could not be loaded; `null` when the list is up to date. */
  readonly problem: string | null;
  readonly permissions: IPermissions;
  /** Emitted after each change of the properties above. */
  readonly changed: ISignal<ISessionsModel, void>;
  /** Whether the list is visible. Only then it follows the queues of the sessions. */
  isWatched: boolean;
  /** Load the list from the server. */
  refresh(): Promise<void>;
  /** Return the session with this id, if it is in the list. */
  get(id: string): ISession | undefined;
  /** Add or replace one session, as the server answered it. */
  update(session: ISession): void;
  /** Remove a session that has ended. */
  remove(id: string): void;
}

/** The sessions of the server, for other extensions. */
export const ISessionsModel = new Token<ISessionsModel>(
  'jupyter-exec-ext:ISessionsModel',
  'A live list of the sessions of the server.'
);
