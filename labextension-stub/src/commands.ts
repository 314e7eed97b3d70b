/** The commands of the front end. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Dialog, InputDialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import type { FileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import type { INotebookContent } from '@jupyterlab/nbformat';
import type { INotebookModel, INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { PathExt } from '@jupyterlab/coreutils';
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
import { missingRight } from './rights';
import {
  answerInput,
  cancelExecution,
  deleteExecution,
  deleteExecutions,
  FINAL_STATES,
  getExecution,
  getNotebook,
  startNotebook,
  type Cells,
  type IExecution,
  type IExecutionError,
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
  export const answer = 'jupyter-exec-ext:answer';
  export const openNotebook = 'jupyter-exec-ext:open-notebook';
  export const openResult = 'jupyter-exec-ext:open-result';
  export const download = 'jupyter-exec-ext:download';
  export const attachConsole = 'jupyter-exec-ext:attach-console';
  export const openFolder = 'jupyter-exec-ext:open-folder';
  export const interruptSession = 'jupyter-exec-ext:interrupt-session';
  export const restartSession = 'jupyter-exec-ext:restart-session';
  export const endSession = 'jupyter-exec-ext:end-session';
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

/** Of how many selected notebooks the inputs are suggested. */
const MAX_FILES_SEARCHED = 10;

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
  const isEnabled = (): boolean => model.permissions.canExecute && tracker.currentWidget !== null;
  const caption = (text: string) => () =>
    missingRight(model.permissions, 'canExecute', trans) ?? text;

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
        const names = await namesInFiles(app, paths);
        const chosen = await choose(options, paths, names, null, '', false);
        if (chosen) {
          await start(
            options,
            paths.map(path => ({ path })),
            chosen
          );
        }
      }
    }
  });
  let { canExecute: couldExecute } = model.permissions;
  model.changed.connect(() => {
    const { canExecute } = model.permissions;
    if (canExecute !== couldExecute) {
      couldExecute = canExecute;
      const { runNotebook, runCell, runFromCell, runFiles } = CommandIDs;
      [runNotebook, runCell, runFromCell, runFiles].forEach(id =>
        commands.notifyCommandChanged(id)
      );
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
      try {
        model.update(await cancelExecution(settings, id));
      } catch (reason) {
        await model.refresh().catch(() => undefined); // Show what it really does.
        throw reason;
      }
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
  commands.addCommand(CommandIDs.answer, {
    label: trans.__('Answer Input Request'),
    describedBy: ID_ARGUMENT,
    execute: withId(async id => {
      const execution = await getExecution(settings, id, { full: false });
      const { input_request: request } = execution;
      if (!request) {
        await commands.execute(CommandIDs.showDetails, { id });
        return;
      }
      const ask = request.password ? InputDialog.getPassword : InputDialog.getText;
      const answered = await ask({
        title: nameOf(execution),
        label: request.prompt || trans.__('The code requests input'),
        okLabel: trans.__('Send'),
        cancelLabel: trans.__('Cancel')
      });
      if (answered.button.accept) {
        await answerInput(settings, id, answered.value ?? '');
      }
    })
  });
  commands.addCommand(CommandIDs.openNotebook, {
    label: trans.__('Open Notebook'),
    describedBy: ID_ARGUMENT,
    execute: async args => {
      const execution = await getExecution(settings, idOf(args), { full: false });
      const panel = documents.openOrReveal(execution.source.path ?? '') as
        NotebookPanel | undefined;
      if (panel && args.atError === true && execution.error) {
        await panel.context.ready;
        await panel.revealed;
        const index = indexOfError(panel, execution.error);
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

/** Return the index of the failed cell, which may have moved since the run. */
function indexOfError(panel: NotebookPanel, error: IExecutionError): number {
  const found = panel.content.widgets.findIndex(cell => cell.model.id === error.cell_id);
  return found >= 0 ? found : (error.cell_index ?? 0);
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
  const { context } = panel;
  const path = contents.localPath(context.path);
  const names = suggestedNames(sourcesOf(context.model));
  const chosen = await choose(options, [path], names, cells, cellsText, isAtOnce);
  if (!chosen) {
    return;
  }
  if (!context.model.dirty) {
    await start(options, [{ path }], chosen);
  } else if (chosen.saveTo === 'in_place') {
    await context.save(); // What the run writes into the file has the edits then.
    await start(options, [{ path }], chosen);
  } else {
    await start(options, [{ path, content: contentOf(context.model) }], chosen);
  }
}

/** Return the notebook as the page shows it. */
function contentOf(model: INotebookModel): INotebookContent {
  return model.toJSON() as INotebookContent;
}

/** Return how to run notebooks: as the user decides, or as remembered; `null` for not at all. */
async function choose(
  options: ICommandsOptions,
  paths: readonly string[],
  names: readonly string[],
  cells: Cells | null,
  cellsText: string,
  isAtOnce: boolean
): Promise<IRunOptions | null> {
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
  if (chosen && paths.length === 1) {
    remembered.save(paths[0], chosen);
  }
  return chosen;
}

/** What is run: a file, or *content* as if it were in the file. */
interface ITarget {
  readonly path: string;
  readonly content?: INotebookContent;
}

async function start(
  options: ICommandsOptions,
  targets: readonly ITarget[],
  chosen: IRunOptions
): Promise<void> {
  const { app, model, notifier, remembered, trans } = options;
  notifier.requestPermission();
  const started: IExecution[] = [];
  for (const target of targets) {
    try {
      const request = requestOf(target, chosen);
      const execution = await startNotebook(
        app.serviceManager.serverSettings,
        request,
        UUID.uuid4()
      );
      remembered.saveRun(execution.id, chosen);
      started.push(execution);
      model.update(execution);
    } catch (reason) {
      const message = trans.__(
        '%1 was not started: %2',
        PathExt.basename(target.path),
        messageOf(reason)
      );
      Notification.error(message, { autoClose: false });
    }
  }
  if (!started.length) {
    return;
  }
  notifier.watch(started);
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

/** Run the notebook of an execution again, with the values that the browser remembers. */
async function runAgain(options: ICommandsOptions, id: string): Promise<void> {
  const { app, remembered } = options;
  const settings = app.serviceManager.serverSettings;
  const execution = await getExecution(settings, id, { full: false });
  const { path, cells, save_to: saveTo } = execution.source;
  if (!path) {
    return;
  }
  // What ran was not in the file: the executed notebook has it.
  const content = execution.source.has_content
    ? (JSON.parse(await (await getNotebook(settings, id)).text()) as INotebookContent)
    : undefined;
  const known = remembered.loadRun(id) ?? remembered.load(path) ?? DEFAULT_OPTIONS;
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
    await start(options, [{ path, content }], again);
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
    await start(options, [{ path, content }], chosen);
  }
}

async function clearFinished(options: ICommandsOptions): Promise<void> {
  const { app, model, trans } = options;
  const { filter } = model;
  const states = FINAL_STATES.filter(
    state => !filter.states.length || filter.states.includes(state)
  );
  // The server does not search in texts: with a text, what the list shows is deleted.
  const shown = model.executions.filter(({ state }) => states.includes(state));
  const body = filter.text
    ? trans._n(
        'The record of %1 finished execution that the list shows is deleted, with its outputs.',
        'The records of %1 finished executions that the list shows are deleted, with their outputs.',
        shown.length
      )
    : filter.path
      ? trans.__(
          'The records of finished executions of %1 are deleted, with their outputs.',
          filter.path
        )
      : trans.__('The records of finished executions are deleted, with their outputs.');
  const result = await showDialog({
    title: trans.__('Clear finished executions?'),
    body,
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.warnButton({ label: trans.__('Clear') })
    ]
  });
  if (!result.button.accept || !states.length) {
    return;
  }
  const settings = app.serviceManager.serverSettings;
  try {
    if (filter.text) {
      for (const { id } of shown) {
        await deleteExecution(settings, id);
      }
    } else {
      await deleteExecutions(settings, { states, path: filter.path });
    }
  } catch (reason) {
    Notification.error(messageOf(reason), { autoClose: false });
  }
  await model.reset().catch(() => undefined);
}

function requestOf({ path, content }: ITarget, options: IRunOptions): INotebookRequest {
  const { cells, inputs, kernelName, saveTo, timeoutSeconds, variableNames } = options;
  return {
    notebook: {
      path,
      ...(content ? { content } : {}),
      ...(cells ? { cells } : {}),
      ...(saveTo === 'record' ? {} : { save_to: saveTo === 'copy' ? copyPath(path) : saveTo })
    },
    inputs: Object.fromEntries(inputs.map(({ name, value }) => [name, value])),
    variable_names: variableNames,
    ...(kernelName ? { kernel_name: kernelName } : {}),
    ...(timeoutSeconds === null ? {} : { timeout_seconds: timeoutSeconds })
  };
}

/** Return what the notebooks at *paths* read; of those that cannot be loaded nothing. */
async function namesInFiles(app: JupyterFrontEnd, paths: readonly string[]): Promise<string[]> {
  const names = new Set<string>();
  for (const path of paths.slice(0, MAX_FILES_SEARCHED)) {
    try {
      const { content } = (await app.serviceManager.contents.get(path, {
        content: true,
        type: 'notebook'
      })) as { content: INotebookContent };
      const sources = content.cells
        .filter(cell => cell.cell_type === 'code')
        .map(({ source }) => (Array.isArray(source) ? source.join('') : source));
      suggestedNames(sources).forEach(name => names.add(name));
    } catch {
      continue; // The server reports what is wrong with it when it runs.
    }
  }
  return [...names];
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
