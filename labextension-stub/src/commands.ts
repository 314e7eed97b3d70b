/** The commands of the front end. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import type { FileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import type { INotebookModel, INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { UUID, type ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { copyPath, showRunDialog } from './dialog';
import { messageOf } from './format';
import { executionIcon } from './icons';
import {
  DEFAULT_OPTIONS,
  mergedInputs,
  suggestedNames,
  type IRunOptions,
  type RememberedOptions
} from './inputs';
import { nameOf } from './model';
import type { Notifier } from './notifications';
import {
  cancelExecution,
  deleteExecution,
  deleteExecutions,
  FINAL_STATES,
  getExecution,
  getNotebook,
  startNotebook,
  type Cells,
  type IExecution,
  type INotebookRequest
} from './restapi';
import type { IExecutionsModel } from './tokens';

export namespace CommandIDs {
  export const runNotebook = 'jupyter-exec-ext:run-notebook';
  export const runCell = 'jupyter-exec-ext:run-cell';
  export const runFromCell = 'jupyter-exec-ext:run-from-cell';
  export const runFiles = 'jupyter-exec-ext:run-files';
  export const runAgain = 'jupyter-exec-ext:run-again';
  export const cancel = 'jupyter-exec-ext:cancel';
  export const remove = 'jupyter-exec-ext:delete';
  export const clearFinished = 'jupyter-exec-ext:clear-finished';
  export const showPanel = 'jupyter-exec-ext:show-panel';
  export const showDetails = 'jupyter-exec-ext:show-details';
  export const openNotebook = 'jupyter-exec-ext:open-notebook';
  export const openResult = 'jupyter-exec-ext:open-result';
  export const download = 'jupyter-exec-ext:download';
}

export interface ICommandsOptions {
  readonly app: JupyterFrontEnd;
  readonly model: IExecutionsModel;
  readonly notifier: Notifier;
  readonly remembered: RememberedOptions;
  readonly tracker: INotebookTracker;
  readonly documents: IDocumentManager;
  readonly browsers: IFileBrowserFactory | null;
  readonly trans: TranslationBundle;
}

type IArguments = ReadonlyPartialJSONObject;

const NO_ARGUMENTS = { args: { type: 'object', properties: {} } } as const;

const ID_ARGUMENT = {
  args: {
    type: 'object',
    properties: { id: { type: 'string', description: 'The id of an execution' } },
    required: ['id']
  }
} as const;

/** Register all commands but those that show a widget. */
export function addCommands(options: ICommandsOptions): void {
  addRunCommands(options);
  addExecutionCommands(options);
}

function addRunCommands(options: ICommandsOptions): void {
  const { app, model, tracker, browsers, trans } = options;
  const { commands } = app;
  const noRight = trans.__('You do not have the right to run executions on this server');
  const isEnabled = (): boolean => model.permissions.canExecute && tracker.currentWidget !== null;
  const caption = (text: string) => () => (model.permissions.canExecute ? text : noRight);

  commands.addCommand(CommandIDs.runNotebook, {
    label: args =>
      args.toolbar
        ? ''
        : args.isPalette
          ? trans.__('Run Notebook in Background')
          : trans.__('Run in Background…'),
    caption: caption(
      trans.__(
        'Run this notebook on the server, whether or not this page stays open (Shift: without the dialog)'
      )
    ),
    icon: executionIcon,
    describedBy: {
      args: {
        type: 'object',
        properties: {
          withoutDialog: {
            type: 'boolean',
            description: 'Start at once, with the options remembered for the notebook'
          }
        }
      }
    },
    isEnabled,
    execute: async args => {
      const panel = tracker.currentWidget;
      if (panel) {
        const isAtOnce = args.withoutDialog === true || isShiftPressed();
        await runPanel(options, panel, null, '', isAtOnce);
      }
    }
  });
  commands.addCommand(CommandIDs.runCell, {
    label: trans.__('Run This Cell in Background…'),
    caption: caption(trans.__('Run only this cell, in a kernel of its own')),
    describedBy: NO_ARGUMENTS,
    isEnabled,
    execute: async () => {
      const target = clickedCell(app, tracker);
      if (target) {
        const text = trans.__('Only cell %1 runs, in a new kernel.', target.index + 1);
        await runPanel(options, target.panel, [target.index], text, false);
      }
    }
  });
  commands.addCommand(CommandIDs.runFromCell, {
    label: trans.__('Run From Here in Background…'),
    caption: caption(trans.__('Run this cell and all cells below, in a kernel of its own')),
    describedBy: NO_ARGUMENTS,
    isEnabled,
    execute: async () => {
      const target = clickedCell(app, tracker);
      if (target) {
        const text = trans.__('The cells from cell %1 on run, in a new kernel.', target.index + 1);
        await runPanel(options, target.panel, { from: target.index }, text, false);
      }
    }
  });
  commands.addCommand(CommandIDs.runFiles, {
    label: trans.__('Run in Background…'),
    caption: caption(trans.__('Run the selected notebooks on the server')),
    icon: executionIcon,
    describedBy: NO_ARGUMENTS,
    isVisible: () => browsers !== null,
    isEnabled: () => model.permissions.canExecute,
    execute: async () => {
      const browser = browsers?.tracker.currentWidget;
      const paths = browser ? selectedNotebooks(browser) : [];
      if (paths.length) {
        await runPaths(options, paths, [], null, '', false);
      }
    }
  });
  model.changed.connect(() => {
    for (const id of [CommandIDs.runNotebook, CommandIDs.runFiles]) {
      commands.notifyCommandChanged(id);
    }
  });
}

function addExecutionCommands(options: ICommandsOptions): void {
  const { app, model, documents, trans } = options;
  const { commands } = app;
  const settings = app.serviceManager.serverSettings;
  const withId = (action: (id: string) => Promise<void>) => async (args: IArguments) => {
    try {
      await action(idOf(args));
    } catch (reason) {
      Notification.error(messageOf(reason), { autoClose: false });
    }
  };

  commands.addCommand(CommandIDs.cancel, {
    label: trans.__('Cancel Execution'),
    describedBy: ID_ARGUMENT,
    execute: withId(async id => {
      const known = model.get(id);
      if (known) {
        model.update({ ...known, state: 'cancelling' }); // Shown at once, before the answer.
      }
      model.update(await cancelExecution(settings, id));
    })
  });
  commands.addCommand(CommandIDs.remove, {
    label: trans.__('Delete Execution'),
    describedBy: ID_ARGUMENT,
    execute: withId(async id => {
      await deleteExecution(settings, id);
      model.remove(id);
    })
  });
  commands.addCommand(CommandIDs.clearFinished, {
    label: trans.__('Clear Finished Executions'),
    describedBy: NO_ARGUMENTS,
    isEnabled: () => model.permissions.canDelete,
    execute: () => clearFinished(options)
  });
  commands.addCommand(CommandIDs.runAgain, {
    label: trans.__('Run Again'),
    describedBy: ID_ARGUMENT,
    execute: withId(id => runAgain(options, id))
  });
  commands.addCommand(CommandIDs.openNotebook, {
    label: trans.__('Open Notebook'),
    describedBy: ID_ARGUMENT,
    execute: async args => {
      const execution = await getExecution(settings, idOf(args), { full: false });
      const panel = documents.openOrReveal(execution.source.path ?? '') as
        NotebookPanel | undefined;
      const index = execution.error?.cell_index;
      if (panel && args.atError === true && index !== undefined) {
        await panel.context.ready;
        await panel.revealed;
        panel.content.activeCellIndex = index;
        await panel.content.scrollToItem(index, 'center');
      }
    }
  });
  commands.addCommand(CommandIDs.openResult, {
    label: trans.__('Open Executed Notebook'),
    describedBy: ID_ARGUMENT,
    execute: withId(async id => {
      const execution = await getExecution(settings, id, { full: true });
      const path = execution.result?.save_conflict ?? execution.result?.notebook_path;
      if (path) {
        documents.openOrReveal(path);
      } else {
        await commands.execute(CommandIDs.showDetails, { id });
      }
    })
  });
  commands.addCommand(CommandIDs.download, {
    label: trans.__('Download Executed Notebook'),
    describedBy: ID_ARGUMENT,
    execute: withId(async id => {
      const url = URL.createObjectURL(await getNotebook(settings, id));
      const link = document.createElement('a');
      link.href = url;
      link.download = model.get(id)?.source.path?.split('/').pop() ?? `${id}.ipynb`;
      link.click();
      URL.revokeObjectURL(url);
    })
  });
}

/** Run an open notebook, or some cells of it, as the page shows it. */
async function runPanel(
  options: ICommandsOptions,
  panel: NotebookPanel,
  cells: Cells | null,
  cellsText: string,
  isAtOnce: boolean
): Promise<void> {
  const { app, trans } = options;
  const { contents } = app.serviceManager;
  if (contents.driveName(panel.context.path) !== '') {
    Notification.error(trans.__('Only notebooks of this server run in the background.'));
    return;
  }
  if (panel.context.model.dirty) {
    await panel.context.save();
  }
  const path = contents.localPath(panel.context.path);
  const names = suggestedNames(sourcesOf(panel.context.model));
  await runPaths(options, [path], names, cells, cellsText, isAtOnce);
}

async function runPaths(
  options: ICommandsOptions,
  paths: readonly string[],
  names: readonly string[],
  cells: Cells | null,
  cellsText: string,
  isAtOnce: boolean
): Promise<void> {
  const { app, remembered, trans } = options;
  const known = (paths.length === 1 ? remembered.load(paths[0]) : null) ?? DEFAULT_OPTIONS;
  const initial = { ...known, cells, inputs: mergedInputs(known.inputs, names) };
  const chosen = isAtOnce
    ? { ...initial, inputs: initial.inputs.filter(({ value }) => value !== '') }
    : await showRunDialog({
        paths,
        initial,
        kernelspecs: app.serviceManager.kernelspecs.specs,
        cellsText: cellsText || null,
        trans
      });
  if (!chosen) {
    return;
  }
  if (paths.length === 1) {
    remembered.save(paths[0], chosen);
  }
  await start(
    options,
    paths.map(path => requestOf(path, chosen))
  );
}

async function start(
  options: ICommandsOptions,
  requests: readonly INotebookRequest[]
): Promise<void> {
  const { app, model, notifier, trans } = options;
  const started: IExecution[] = [];
  for (const request of requests) {
    try {
      started.push(await startNotebook(app.serviceManager.serverSettings, request, UUID.uuid4()));
    } catch (reason) {
      const name = request.notebook.path.split('/').pop();
      Notification.error(trans.__('%1 was not started: %2', name, messageOf(reason)), {
        autoClose: false
      });
    }
  }
  if (!started.length) {
    return;
  }
  notifier.watch(started);
  started.forEach(execution => model.update(execution));
  const message =
    started.length === 1
      ? trans.__('%1 runs in the background', nameOf(started[0]))
      : trans.__('%1 notebooks run in the background', started.length);
  Notification.info(message, {
    autoClose: 5_000,
    actions: [
      {
        label: trans.__('Show'),
        callback: () =>
          void (started.length === 1
            ? app.commands.execute(CommandIDs.showDetails, { id: started[0].id })
            : app.commands.execute(CommandIDs.showPanel))
      }
    ]
  });
}

/** Run the notebook of an execution again, with the options that the browser remembers. */
async function runAgain(options: ICommandsOptions, id: string): Promise<void> {
  const { app, remembered } = options;
  const execution = await getExecution(app.serviceManager.serverSettings, id, { full: false });
  const { path, cells, save_to: saveTo } = execution.source;
  if (!path) {
    return;
  }
  const known = remembered.load(path) ?? DEFAULT_OPTIONS;
  const inputs = mergedInputs(known.inputs, execution.input_names).filter(({ name }) =>
    execution.input_names.includes(name)
  );
  const again: IRunOptions = {
    ...known,
    inputs,
    cells: cells ?? null,
    variableNames: execution.variable_names,
    timeoutSeconds: execution.timeout_seconds ?? null,
    saveTo: saveTo === 'in_place' ? 'in_place' : saveTo ? 'copy' : 'record'
  };
  // The server keeps no values: a dialog asks for those that the browser does not remember either.
  if (inputs.every(({ value }) => value !== '')) {
    await start(options, [requestOf(path, again)]);
    return;
  }
  const chosen = await showRunDialog({
    paths: [path],
    initial: again,
    kernelspecs: app.serviceManager.kernelspecs.specs,
    cellsText: null,
    trans: options.trans
  });
  if (chosen) {
    await start(options, [requestOf(path, chosen)]);
  }
}

async function clearFinished(options: ICommandsOptions): Promise<void> {
  const { app, model, trans } = options;
  const { filter } = model;
  const states = FINAL_STATES.filter(
    state => !filter.states.length || filter.states.includes(state)
  );
  const result = await showDialog({
    title: trans.__('Clear finished executions?'),
    body: filter.path
      ? trans.__(
          'The records of finished executions of %1 are deleted, with their outputs.',
          filter.path
        )
      : trans.__('The records of finished executions are deleted, with their outputs.'),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Clear') })]
  });
  if (!result.button.accept || !states.length) {
    return;
  }
  const settings = app.serviceManager.serverSettings;
  try {
    if (filter.text) {
      // The server does not search in texts: delete what the list shows.
      const shown = model.executions.filter(({ state }) => states.includes(state));
      for (const { id } of shown) {
        await deleteExecution(settings, id);
        model.remove(id);
      }
    } else {
      await deleteExecutions(settings, { states, path: filter.path });
      model.executions
        .filter(({ state }) => states.includes(state))
        .forEach(({ id }) => model.remove(id));
    }
    await model.refresh();
  } catch (reason) {
    Notification.error(messageOf(reason), { autoClose: false });
  }
}

function requestOf(path: string, options: IRunOptions): INotebookRequest {
  const { cells, inputs, kernelName, saveTo, timeoutSeconds, variableNames } = options;
  return {
    notebook: {
      path,
      ...(cells ? { cells } : {}),
      ...(saveTo === 'record' ? {} : { save_to: saveTo === 'copy' ? copyPath(path) : saveTo })
    },
    inputs: Object.fromEntries(inputs.map(({ name, value }) => [name, value])),
    variable_names: variableNames,
    ...(kernelName ? { kernel_name: kernelName } : {}),
    ...(timeoutSeconds === null ? {} : { timeout_seconds: timeoutSeconds })
  };
}

function* sourcesOf(model: INotebookModel): Iterable<string> {
  for (const cell of model.cells) {
    if (cell.type === 'code') {
      yield cell.sharedModel.getSource();
    }
  }
}

/** Return the cell under the context menu, else the active one. */
function clickedCell(
  app: JupyterFrontEnd,
  tracker: INotebookTracker
): { panel: NotebookPanel; index: number } | null {
  const panel = tracker.currentWidget;
  if (!panel) {
    return null;
  }
  const node = app.contextMenuHitTest(element => element.classList.contains('jp-Cell'));
  const clicked = panel.content.widgets.findIndex(cell => cell.node === node);
  const index = clicked >= 0 ? clicked : panel.content.activeCellIndex;
  return index >= 0 ? { panel, index } : null;
}

function selectedNotebooks(browser: FileBrowser): string[] {
  return [...browser.selectedItems()]
    .filter(item => item.type === 'notebook')
    .map(item => item.path);
}

/** Whether the event that runs the command has the Shift key, as a click on the toolbar may. */
function isShiftPressed(): boolean {
  const { event } = window;
  return event instanceof MouseEvent && event.shiftKey;
}

/** Return the id that a command was given; empty, which no execution has, without one. */
export function idOf(args: IArguments): string {
  return typeof args.id === 'string' ? args.id : '';
}
