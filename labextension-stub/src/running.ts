/** Active executions, and sessions, in JupyterLab's own panel of what runs. */
import { Notification } from '@jupyterlab/apputils';
import type { IRunningSessionManagers, IRunningSessions } from '@jupyterlab/running';
import type { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import { Signal } from '@lumino/signaling';
import { consoleIcon } from '@jupyterlab/ui-components';
import { CommandIDs } from './commands';
import { formatTiming, messageOf, stateLabel } from './format';
import { executionIcon } from './icons';
import { nameOf } from './model';
import { ACTIVE_STATES, endSession, type IExecution } from './restapi';
import { sessionName } from './sessions';
import { sessionStateLabel } from './sessionsView';
import type { IExecutionsModel, ISessionsModel } from './tokens';

/** Add a section for executions that wait or run. */
export function addRunningSection(
  managers: IRunningSessionManagers,
  model: IExecutionsModel,
  commands: CommandRegistry,
  trans: TranslationBundle
): void {
  const runningChanged = new Signal<unknown, unknown>(model);
  model.changed.connect(() => runningChanged.emit(undefined));
  const active = (): IExecution[] =>
    model.executions.filter(({ state }) => ACTIVE_STATES.includes(state));
  managers.add({
    name: trans.__('Executions'),
    running: () => active().map(execution => runningItem(execution, commands, trans)),
    runningChanged,
    refreshRunning: () => void model.refresh().catch(() => undefined),
    shutdownAll: () =>
      active().forEach(({ id }) => void commands.execute(CommandIDs.cancel, { id })),
    shutdownLabel: trans.__('Cancel'),
    shutdownAllLabel: trans.__('Cancel All'),
    shutdownAllConfirmationText: trans.__('Cancel all executions that wait or run?')
  });
}

/** Add a section for sessions. */
export function addSessionsSection(
  managers: IRunningSessionManagers,
  model: ISessionsModel,
  commands: CommandRegistry,
  serverSettings: ServerConnection.ISettings,
  trans: TranslationBundle
): void {
  const runningChanged = new Signal<unknown, unknown>(model);
  model.changed.connect(() => runningChanged.emit(undefined));
  managers.add({
    name: trans.__('Execution Sessions'),
    running: () =>
      model.sessions.map(session => ({
        icon: () => consoleIcon,
        label: () => sessionName(session),
        labelTitle: () => session.path ?? sessionName(session),
        detail: () => `${session.kernel_name} ${sessionStateLabel(session.state, trans)}`,
        open: () => void commands.execute(CommandIDs.showPanel),
        shutdown: () => void commands.execute(CommandIDs.endSession, { id: session.id })
      })),
    runningChanged,
    refreshRunning: () => void model.refresh().catch(() => undefined),
    shutdownAll: () => {
      // The Running panel has confirmed it already, for all of them.
      for (const { id } of model.sessions) {
        endSession(serverSettings, id).then(
          () => model.remove(id),
          (reason: unknown) => void Notification.error(messageOf(reason), { autoClose: false })
        );
      }
    },
    shutdownLabel: trans.__('End'),
    shutdownAllLabel: trans.__('End All'),
    shutdownAllConfirmationText: trans.__(
      'End all sessions? What runs or waits in them fails, and their variables are lost.'
    )
  });
}

function runningItem(
  execution: IExecution,
  commands: CommandRegistry,
  trans: TranslationBundle
): IRunningSessions.IRunningItem {
  const { id } = execution;
  return {
    icon: () => executionIcon,
    label: () => nameOf(execution),
    labelTitle: () => execution.source.path ?? nameOf(execution),
    detail: () => `${stateLabel(execution.state, trans)} ${formatTiming(execution)}`,
    open: () => void commands.execute(CommandIDs.showDetails, { id }),
    shutdown: () => void commands.execute(CommandIDs.cancel, { id })
  };
}
