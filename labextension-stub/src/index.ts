/** The plugins of the front end. */
import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import {
  ICommandPalette,
  IToolbarWidgetRegistry,
  MainAreaWidget,
  WidgetTracker
} from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { SidePanel } from '@jupyterlab/ui-components';
import { createSwitchButton, ServerCells } from './cells';
import { CellSwitch } from './cellswitch';
import { addCommands, CommandIDs, idOf } from './commands';
import { createDetails, type ExecutionDetails } from './details';
import { EventFeed } from './eventfeed';
import { executionIcon } from './icons';
import { RememberedOptions } from './inputs';
import { ExecutionsModel } from './model';
import { Notifier } from './notifications';
import { reloadSavedNotebooks } from './openNotebooks';
import { ExecutionsPanel } from './panel';
import { addPanel, addToMain, reveal } from './places';
import { getExecution } from './restapi';
import { addRunningSection, addSessionsSection } from './running';
import { addSessionCommands } from './sessionCommands';
import { SessionsModel } from './sessions';
import { SessionsView } from './sessionsView';
import {
  CELLS_PLUGIN_ID,
  IExecutionsModel,
  ISessionsModel,
  PLUGIN_ID,
  TRANSLATION_DOMAIN
} from './tokens';

export { IExecutionsModel, ISessionsModel } from './tokens';

const PANEL_ID = 'jupyter-exec-ext-panel';

const modelPlugin: JupyterFrontEndPlugin<IExecutionsModel> = {
  id: 'jupyter-exec-ext:model',
  description: 'Keeps a list of the executions of the server.',
  autoStart: true,
  provides: IExecutionsModel,
  activate: (app: JupyterFrontEnd): IExecutionsModel => {
    const { events, serverSettings } = app.serviceManager;
    return new ExecutionsModel({ serverSettings, events });
  }
};

const sessionsPlugin: JupyterFrontEndPlugin<ISessionsModel> = {
  id: 'jupyter-exec-ext:sessions',
  description: 'Keeps a list of the sessions of the server.',
  autoStart: true,
  provides: ISessionsModel,
  activate: (app: JupyterFrontEnd): ISessionsModel => {
    const { events, serverSettings } = app.serviceManager;
    return new SessionsModel({ serverSettings, events });
  }
};

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN_ID,
  description: 'Runs notebooks in the background, and shows and follows executions.',
  autoStart: true,
  requires: [
    IExecutionsModel,
    ISessionsModel,
    INotebookTracker,
    IDocumentManager,
    IRenderMimeRegistry
  ],
  optional: [
    ISettingRegistry,
    ITranslator,
    ILayoutRestorer,
    ICommandPalette,
    IFileBrowserFactory,
    IRunningSessionManagers
  ],
  activate
};

function activate(
  app: JupyterFrontEnd,
  model: IExecutionsModel,
  sessions: ISessionsModel,
  tracker: INotebookTracker,
  documents: IDocumentManager,
  rendermime: IRenderMimeRegistry,
  settings: ISettingRegistry | null,
  translator: ITranslator | null,
  restorer: ILayoutRestorer | null,
  palette: ICommandPalette | null,
  browsers: IFileBrowserFactory | null,
  managers: IRunningSessionManagers | null
): void {
  const { commands, serviceManager } = app;
  const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);
  const { serverSettings, contents, kernelspecs } = serviceManager;
  const storage = window.sessionStorage;
  const notifier = new Notifier({ model, commands, serverSettings, storage, trans });
  const remembered = new RememberedOptions(serverSettings.baseUrl);
  addCommands({ app, model, notifier, remembered, tracker, documents, browsers, trans });

  reloadSavedNotebooks(model, tracker, contents, trans);
  addSessionCommands({ commands, model: sessions, serverSettings, trans });

  const openPaths = (): string[] => {
    const paths: string[] = [];
    tracker.forEach(({ context }) => {
      if (contents.driveName(context.path) === '') {
        paths.push(contents.localPath(context.path));
      }
    });
    return paths;
  };
  const panel = new SidePanel({ translator: translator ?? nullTranslator });
  const executionsPanel = new ExecutionsPanel({ model, commands, openPaths, trans });
  executionsPanel.title.label = trans.__('Executions');
  panel.addWidget(executionsPanel);
  const sessionsView = new SessionsView({
    model: sessions,
    commands,
    kernelspecs,
    serverSettings,
    trans
  });
  sessionsView.title.label = trans.__('Sessions');
  panel.addWidget(sessionsView);
  panel.id = PANEL_ID;
  panel.addClass('jp-exec-SidePanel');
  panel.title.icon = executionIcon;
  panel.title.caption = trans.__('Executions');
  addPanel(app, panel, trans.__('Executions'));
  restorer?.add(panel, PANEL_ID);
  model.changed.connect(() => {
    // JupyterLab's side bar has no badge: the style sheet shows this attribute of the tab.
    const count = model.activeCount;
    panel.title.dataset = count ? { 'exec-count': String(count) } : {};
    panel.title.caption = count
      ? trans._n('Executions (%1 active)', 'Executions (%1 active)', count)
      : trans.__('Executions');
  });
  commands.addCommand(CommandIDs.showPanel, {
    label: trans.__('Show Executions'),
    describedBy: { args: { type: 'object', properties: {} } },
    execute: () => reveal(app, panel)
  });

  const details = new WidgetTracker<MainAreaWidget<ExecutionDetails>>({
    namespace: 'jupyter-exec-ext-details'
  });
  commands.addCommand(CommandIDs.showDetails, {
    label: trans.__('Show Execution'),
    describedBy: {
      args: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] }
    },
    execute: async args => {
      const id = idOf(args);
      let widget = details.find(({ content }) => content.executionId === id);
      if (!widget) {
        const { user } = serviceManager;
        const execution = await getExecution(serverSettings, id, { full: false });
        await user.ready;
        const username = user.identity?.username ?? '';
        widget = createDetails({
          execution,
          model,
          commands,
          rendermime,
          serverSettings,
          username,
          trans
        });
        await details.add(widget);
        addToMain(app, widget);
      }
      reveal(app, widget);
    }
  });
  void restorer?.restore(details, {
    command: CommandIDs.showDetails,
    args: ({ content }) => ({ id: content.executionId }),
    name: ({ content }) => content.executionId
  });

  for (const command of [CommandIDs.runNotebook, CommandIDs.showPanel, CommandIDs.clearFinished]) {
    palette?.addItem({ command, category: trans.__('Executions'), args: { isPalette: true } });
  }
  if (managers) {
    addRunningSection(managers, model, commands, trans);
    addSessionsSection(managers, sessions, commands, serverSettings, trans);
  }
  const loading = settings?.load(PLUGIN_ID).then(loaded => {
    const apply = (): void => {
      const after = loaded.composite.browserNotificationAfter;
      notifier.settings = {
        notify: loaded.composite.notify !== false,
        browserNotificationAfter: typeof after === 'number' ? after : null
      };
    };
    loaded.changed.connect(apply);
    apply();
  });
  void Promise.allSettled([loading]).then(() => notifier.restore());
}

const cellsPlugin: JupyterFrontEndPlugin<void> = {
  id: CELLS_PLUGIN_ID,
  description: 'Runs the cells of notebooks on the server, where they outlive the page.',
  autoStart: true,
  requires: [IExecutionsModel, INotebookTracker],
  optional: [IToolbarWidgetRegistry, ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IExecutionsModel,
    tracker: INotebookTracker,
    toolbars: IToolbarWidgetRegistry | null,
    settings: ISettingRegistry | null,
    translator: ITranslator | null
  ): void => {
    const { serverSettings } = app.serviceManager;
    const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);
    const cellSwitch = new CellSwitch(serverSettings.baseUrl);
    const options = { app, model, feed: new EventFeed(serverSettings), cellSwitch, trans };
    const cells = new ServerCells(options);
    tracker.forEach(panel => cells.watch(panel));
    tracker.widgetAdded.connect((_, panel) => cells.watch(panel));
    toolbars?.addFactory<NotebookPanel>('Notebook', 'run-on-server', panel =>
      createSwitchButton(panel, cells, options)
    );
    void settings?.load(CELLS_PLUGIN_ID).then(loaded => {
      const apply = (): void => {
        cellSwitch.isDefaultOn = loaded.composite.runCellsOnServer === true;
      };
      loaded.changed.connect(apply);
      apply();
    });
  }
};

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  modelPlugin,
  sessionsPlugin,
  plugin,
  cellsPlugin
];
export default plugins;
