/** Notifications about the executions that this page started. */
import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import { CommandIDs } from './commands';
import { formatDuration } from './format';
import { nameOf } from './model';
import type { IExecution } from './restapi';
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

/** Notifies once for each execution, or batch of executions, that this page started. */
export class Notifier {
  constructor(
    model: IExecutionsModel,
    private readonly _commands: CommandRegistry,
    private readonly _trans: TranslationBundle
  ) {
    model.ended.connect((_, execution) => this._onEnded(execution));
    model.inputRequested.connect((_, execution) => this._onInputRequested(execution));
  }

  settings: INotificationSettings = { notify: true, browserNotificationAfter: null };

  /** Notify when all of *executions* have ended. */
  watch(executions: readonly IExecution[]): void {
    const batch: IBatch = { waiting: new Set(executions.map(({ id }) => id)), ended: [] };
    executions.forEach(({ id }) => this._batches.set(id, batch));
  }

  private _onEnded(execution: IExecution): void {
    const batch = this._batches.get(execution.id);
    if (!batch) {
      return;
    }
    this._batches.delete(execution.id);
    batch.waiting.delete(execution.id);
    batch.ended.push(execution);
    if (batch.waiting.size === 0 && this.settings.notify) {
      this._notify(batch.ended);
    }
  }

  private _notify(ended: readonly IExecution[]): void {
    const failed = ended.filter(({ state }) => state === 'failed');
    const message =
      ended.length === 1 ? this._message(ended[0]) : this._batchMessage(ended, failed);
    const shown = failed[0] ?? ended[0];
    const emit = failed.length ? Notification.error : Notification.success;
    const actions = [this._action(this._trans.__('Show'), CommandIDs.showDetails, shown.id)];
    if (shown.source.path) {
      actions.push(this._action(this._trans.__('Open result'), CommandIDs.openResult, shown.id));
    }
    emit(message, { autoClose: failed.length ? false : 8_000, actions });
    this._notifyInBrowser(message, ended);
  }

  private _message(execution: IExecution): string {
    const name = nameOf(execution);
    const { error, state, duration_seconds: seconds } = execution;
    if (state === 'failed') {
      return this._trans.__('%1 failed: %2', name, error?.ename ?? error?.code ?? '');
    }
    if (state === 'cancelled') {
      return this._trans.__('%1 was cancelled', name);
    }
    return this._trans.__('%1 succeeded after %2', name, formatDuration(seconds ?? 0));
  }

  private _batchMessage(ended: readonly IExecution[], failed: readonly IExecution[]): string {
    return failed.length
      ? this._trans.__('%1 of %2 executions failed', failed.length, ended.length)
      : this._trans.__('%1 executions ended', ended.length);
  }

  private _onInputRequested(execution: IExecution): void {
    if (this._batches.has(execution.id)) {
      Notification.warning(this._trans.__('%1 waits for input', nameOf(execution)), {
        autoClose: false,
        actions: [this._action(this._trans.__('Answer'), CommandIDs.showDetails, execution.id)]
      });
    }
  }

  private _notifyInBrowser(message: string, ended: readonly IExecution[]): void {
    const after = this.settings.browserNotificationAfter;
    const longest = Math.max(...ended.map(({ duration_seconds: seconds }) => seconds ?? 0));
    if (after === null || longest < after || !document.hidden || !('Notification' in window)) {
      return;
    }
    if (window.Notification.permission === 'granted') {
      new window.Notification(message);
    }
  }

  private _action(label: string, command: string, id: string): Notification.IAction {
    return { label, callback: () => void this._commands.execute(command, { id }) };
  }

  private readonly _batches = new Map<string, IBatch>();
}

interface IBatch {
  readonly waiting: Set<string>;
  readonly ended: IExecution[];
}
