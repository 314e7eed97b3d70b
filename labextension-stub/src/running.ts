/** Active executions in JupyterLab's own panel of running things. */
import type { IRunningSessionManagers, IRunningSessions } from '@jupyterlab/running';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import { Signal } from '@lumino/signaling';
import { CommandIDs } from './commands';
import { formatTiming, stateLabel } from './format';
import { executionIcon } from './icons';
import { nameOf } from './model';
import { ACTIVE_STATES, type IExecution } from './restapi';
import type { IExecutionsModel } from './tokens';

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
