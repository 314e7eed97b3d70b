/** Runs the cells of notebooks on the server, so that they outlive the page. */
import { ToolbarButton } from '@jupyterlab/ui-components';
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { DocumentRegistry } from '@jupyterlab/docregistry';
import type { INotebookModel, NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { DisposableSet } from '@lumino/disposable';
import type { CellSwitch } from './cellswitch';
import type { IEventFeed, IStarted } from './eventfeed';
import { cellsOnServerIcon } from './icons';
import { KernelRouter } from './kernelroute';
import { PageElection } from './pageelection';
import { CellRestorer } from './restorer';
import type { IExecutionsModel } from './tokens';

export interface IServerCellsOptions {
  readonly app: JupyterFrontEnd;
  readonly model: IExecutionsModel;
  readonly feed: IEventFeed;
  readonly cellSwitch: CellSwitch;
  readonly trans: TranslationBundle;
}

type IContext = DocumentRegistry.IContext<INotebookModel>;

/** Watches the open notebooks: routes what their cells execute, and restores their outputs. */
export class ServerCells {
  constructor(private readonly _options: IServerCellsOptions) {
    const { app, feed } = _options;
    this._router = new KernelRouter(app.serviceManager.serverSettings, feed);
  }

  /** Watch a notebook until its panel is closed. */
  watch(panel: NotebookPanel): void {
    const { context } = panel;
    // Two panels can show one document: it is watched once, in the panel that came first.
    if (this._watched.has(context) || !this.isOnThisServer(context.path)) {
      return;
    }
    this._watched.add(context);
    void context.ready.then(() => {
      if (panel.isDisposed) {
        this._watched.delete(context);
      } else {
        this._start(panel);
      }
    });
  }

  /** Whether cells of the notebook run on the server now. */
  isOn(path: string): boolean {
    const { cellSwitch, model } = this._options;
    return (
      model.permissions.canExecute &&
      this.isOnThisServer(path) &&
      cellSwitch.isOn(this.localPath(path))
    );
  }

  isOnThisServer(path: string): boolean {
    return this._options.app.serviceManager.contents.driveName(path) === '';
  }

  localPath(path: string): string {
    return this._options.app.serviceManager.contents.localPath(path);
  }

  private _start(panel: NotebookPanel): void {
    const { context } = panel;
    const { collaborative, sharedModel } = context.model;
    const election = new PageElection(collaborative ? sharedModel.awareness : null);
    const watching = DisposableSet.from([election]);
    panel.disposed.connect(() => {
      watching.dispose();
      this._watched.delete(context);
    });
    this._route(context, election);
    void this._restore(panel, election, watching);
  }

  private _route(context: IContext, election: PageElection): void {
    const { sessionContext } = context;
    const notebook = {
      isOn: () => this.isOn(context.path),
      path: () => this.localPath(context.path),
      onStarted: ({ id }: IStarted, done: Promise<unknown>) => {
        election.claim(id);
        const release = (): void => election.release(id);
        done.then(release, release);
      }
    };
    const route = (): void => {
      const kernel = sessionContext.session?.kernel;
      if (kernel) {
        this._router.route(kernel, notebook);
      }
    };
    sessionContext.kernelChanged.connect(route);
    route();
  }

  private async _restore(
    panel: NotebookPanel,
    election: PageElection,
    watching: DisposableSet
  ): Promise<void> {
    const { app, feed, trans } = this._options;
    const { serverSettings, user } = app.serviceManager;
    await user.ready;
    if (panel.isDisposed) {
      return;
    }
    const restorer = new CellRestorer({
      panel,
      path: this.localPath(panel.context.path),
      username: user.identity?.username ?? '',
      election,
      feed,
      serverSettings,
      trans
    });
    watching.add(restorer);
    // A server without the right to read executions, or that cannot be reached, restores nothing.
    const restore = (): void => void restorer.restore().catch(() => undefined);
    election.tookOver.connect(restore);
    if (await election.isAlone()) {
      restore();
    }
  }

  private readonly _router: KernelRouter;
  private readonly _watched = new WeakSet<IContext>();
}

/** Return the switch in the toolbar of a notebook. */
export function createSwitchButton(
  panel: NotebookPanel,
  cells: ServerCells,
  options: IServerCellsOptions
): ToolbarButton {
  const { cellSwitch, model, trans } = options;
  const { context } = panel;
  const button = new ToolbarButton({
    icon: cellsOnServerIcon,
    pressed: cells.isOn(context.path),
    enabled: model.permissions.canExecute && cells.isOnThisServer(context.path),
    tooltip: trans.__('Run cells on the server, where they outlive this page'),
    disabledTooltip: cells.isOnThisServer(context.path)
      ? trans.__('You do not have the right to run executions on this server')
      : trans.__('Only notebooks of this server run their cells on the server'),
    onClick: () => cellSwitch.set(cells.localPath(context.path), !cells.isOn(context.path))
  });
  const update = (): void => {
    button.enabled = model.permissions.canExecute && cells.isOnThisServer(context.path);
    button.pressed = cells.isOn(context.path);
  };
  cellSwitch.changed.connect(update);
  model.changed.connect(update);
  context.pathChanged.connect(update);
  button.disposed.connect(() => {
    cellSwitch.changed.disconnect(update);
    model.changed.disconnect(update);
    context.pathChanged.disconnect(update);
  });
  return button;
}
