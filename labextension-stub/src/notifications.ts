/** Notifications about the executions that this page started. */
import { Notification } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import { CommandIDs } from './commands';
import { formatDuration } from './format';
import { nameOf } from './model';
import { FINAL_STATES, getExecution, type IExecution } from './restapi';
import type { IExecutionsModel } from './tokens';

/** What the settings say about notifications. */
export interface INotificationSettings {
  /** Whether to notify when an execution ends. */
  readonly notify: boolean;
  /**
   * Show the browser's own notification when the page is hidden and the execution took longer
   * than this, in seconds; `null` never.
   */
  readonly browserNotificationAfter: number | null;
}

/**
 * Notifies once for each execution, or batch of executions, that this page started.
 *
 * What the page waits for survives its reload.
 */
export class Notifier {
  constructor(private readonly _options: Notifier.IOptions) {
    const { model } = _options;
    model.ended.connect((_, execution) => this._onEnded(execution));
    model.inputRequested.connect((_, execution) => this._onInputRequested(execution));
  }

  settings: INotificationSettings = { notify: true, browserNotificationAfter: null };

  /** Notify when all of *executions* have ended. */
  watch(executions: readonly IExecution[]): void {
    this._add(executions.map(({ id }) => id));
    this._save();
    // Some can have ended while others of the batch were started.
    executions
      .map(({ id }) => this._options.model.get(id))
      .filter(known => known !== undefined && FINAL_STATES.includes(known.state))
      .forEach(ended => ended && this._onEnded(ended));
  }

  /** Go on with what this page waited for before it was loaded again. */
  async restore(): Promise<void> {
    const { serverSettings } = this._options;
    const batches = this._load();
    batches.forEach(ids => this._add(ids));
    for (const id of batches.flat()) {
      try {
        const execution = await getExecution(serverSettings, id, { full: false });
        if (FINAL_STATES.includes(execution.state)) {
          this._onEnded(execution);
        } else if (execution.input_request) {
          this._onInputRequested(execution);
        }
      } catch (reason) {
        if (reason instanceof ServerConnection.ResponseError) {
          this._forget(id); // Deleted, or no longer visible for this user.
        }
      }
    }
  }

  /** Ask the browser for its permission, if its notifications are on; for the click of a user. */
  requestPermission(): void {
    const isWanted = this.settings.browserNotificationAfter !== null;
    if (isWanted && 'Notification' in window && window.Notification.permission === 'default') {
      void window.Notification.requestPermission();
    }
  }

  private _add(ids: readonly string[]): void {
    const batch: IBatch = { waiting: new Set(ids), ended: [] };
    ids.forEach(id => this._batches.set(id, batch));
  }

  private _onEnded(execution: IExecution): void {
    this._dismissInput(execution.id);
    const batch = this._forget(execution.id);
    if (!batch) {
      return;
    }
    batch.ended.push(execution);
    if (batch.waiting.size === 0 && this.settings.notify) {
      this._notify(batch.ended);
    }
  }

  private _forget(id: string): IBatch | undefined {
    const batch = this._batches.get(id);
    batch?.waiting.delete(id);
    this._batches.delete(id);
    this._save();
    return batch;
  }

  private _save(): void {
    const batches = new Set([...this._batches.values()].map(({ waiting }) => waiting));
    try {
      const text = JSON.stringify([...batches].map(waiting => [...waiting]));
      this._options.storage.setItem(this._key, text);
    } catch {
      return; // A browser that keeps nothing: the page forgets when it is loaded again.
    }
  }

  private _load(): string[][] {
    try {
      return JSON.parse(this._options.storage.getItem(this._key) ?? '[]') as string[][];
    } catch {
      return [];
    }
  }

  private get _key(): string {
    return `jupyter-exec-ext:watched:${this._options.serverSettings.baseUrl}`;
  }

  private _notify(ended: readonly IExecution[]): void {
    const failed = ended.filter(({ state }) => state === 'failed');
    const message =
      ended.length === 1 ? this._message(ended[0]) : this._batchMessage(ended, failed);
    const shown = failed[0] ?? ended[0];
    const emit = failed.length ? Notification.error : Notification.success;
    const actions = [
      this._action(this._options.trans.__('Show'), CommandIDs.showDetails, shown.id)
    ];
    if (shown.source.path) {
      actions.push(
        this._action(this._options.trans.__('Open result'), CommandIDs.openResult, shown.id)
      );
    }
    emit(message, { autoClose: failed.length ? false : 8_000, actions });
    this._notifyInBrowser(message, ended);
  }

  private _message(execution: IExecution): string {
    const name = nameOf(execution);
    const { error, state, duration_seconds: seconds } = execution;
    if (state === 'failed') {
      return this._options.trans.__('%1 failed: %2', name, error?.ename ?? error?.code ?? '');
    }
    if (state === 'cancelled') {
      return this._options.trans.__('%1 was cancelled', name);
    }
    return this._options.trans.__('%1 succeeded after %2', name, formatDuration(seconds ?? 0));
  }

  private _batchMessage(ended: readonly IExecution[], failed: readonly IExecution[]): string {
    return failed.length
      ? this._options.trans.__('%1 of %2 executions failed', failed.length, ended.length)
      : this._options.trans.__('%1 executions ended', ended.length);
  }

  private _onInputRequested(execution: IExecution): void {
    const { trans } = this._options;
    if (this._batches.has(execution.id)) {
      this._dismissInput(execution.id);
      const notification = Notification.warning(trans.__('%1 waits for input', nameOf(execution)), {
        autoClose: false,
        actions: [
          this._action(trans.__('Answer'), CommandIDs.answer, execution.id),
          this._action(trans.__('Show'), CommandIDs.showDetails, execution.id)
        ]
      });
      this._inputs.set(execution.id, notification);
    }
  }

  private _dismissInput(id: string): void {
    const notification = this._inputs.get(id);
    if (notification !== undefined) {
      Notification.dismiss(notification);
      this._inputs.delete(id);
    }
  }

  private _notifyInBrowser(message: string, ended: readonly IExecution[]): void {
    const after = this.settings.browserNotificationAfter;
    const longest = Math.max(...ended.map(({ duration_seconds: seconds }) => seconds ?? 0));
    if (after === null || longest < after || !document.hidden || !('Notification' in window)) {
      return;
    }
    if (window.Notification.permission === 'granted') {
      const shown = new window.Notification(message);
      shown.onclick = () => {
        window.focus();
        void this._options.commands.execute(CommandIDs.showDetails, { id: ended[0].id });
      };
    }
  }

  private _action(label: string, command: string, id: string): Notification.IAction {
    return { label, callback: () => void this._options.commands.execute(command, { id }) };
  }

  /** The notifications of open input requests, by execution. */
  private readonly _inputs = new Map<string, string>();
  private readonly _batches = new Map<string, IBatch>();
}

interface IBatch {
  readonly waiting: Set<string>;
  readonly ended: IExecution[];
}

export namespace Notifier {
  export interface IOptions {
    readonly model: IExecutionsModel;
    readonly commands: CommandRegistry;
    readonly serverSettings: ServerConnection.ISettings;
    /** Where the page keeps what it waits for: storage of this page alone. */
    readonly storage: Storage;
    readonly trans: TranslationBundle;
  }
}
