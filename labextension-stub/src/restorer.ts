/** Brings back into a notebook what its cells published while no page showed it. */
import { CodeCell } from '@jupyterlab/cells';
import type { IOutput } from '@jupyterlab/nbformat';
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import { CellOffer } from './celloffer';
import type { IEventFeed } from './eventfeed';
import { ExecutionFuture, hasResult, type CellFuture } from './executionfuture';
import type { PageElection } from './pageelection';
import { retrying } from './retrying';
import {
  ACTIVE_STATES,
  FINAL_STATES,
  getExecution,
  listExecutions,
  type IExecution,
  type State
} from './restapi';

const PAGE_SIZE = 200;

/** How many pages of finished executions are searched for the newest one of each cell. */
const MAX_PAGES = 5;

export interface ICellRestorerOptions {
  readonly panel: NotebookPanel;
  /** The path of the notebook on this server. */
  readonly path: string;
  /** Whose outputs may run scripts: the user's own. */
  readonly username: string;
  readonly election: PageElection;
  readonly feed: IEventFeed;
  readonly serverSettings: ServerConnection.ISettings;
  readonly trans: TranslationBundle;
}

/** Restores the outputs of one notebook, and lets running cells go on. */
export class CellRestorer implements IDisposable {
  constructor(private readonly _options: ICellRestorerOptions) {
    NotebookActions.executionScheduled.connect(this._onScheduled, this);
  }

  get isDisposed(): boolean {
    return this._abort.signal.aborted;
  }

  /** Restore the cells whose newest execution the file does not have. */
  async restore(): Promise<void> {
    const { context, content } = this._options.panel;
    const savedTime = Date.parse(context.contentsModel?.last_modified ?? '') || 0;
    for (const [cellId, { id, state, end_time: endTime }] of await this._newest(savedTime)) {
      const cell = content.widgets.find(({ model }) => model.id === cellId);
      const isNews = !FINAL_STATES.includes(state) || Date.parse(endTime ?? '') > savedTime;
      if (cell instanceof CodeCell && isNews && !this._isTaken(cell, id)) {
        const record = await this._load(id);
        if (this.isDisposed) {
          return;
        }
        if (record && !cell.isDisposed && !this._isTaken(cell, id)) {
          this._restoreCell(cell, record);
        }
      }
    }
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._abort.abort();
      NotebookActions.executionScheduled.disconnect(this._onScheduled, this);
      this._offers.forEach(offer => offer.dispose());
    }
  }

  /** Whether this page, or another one, already writes the outputs of the cell. */
  private _isTaken({ model, outputArea }: CodeCell, id: string): boolean {
    // An output area has a future once the cell was executed in this page.
    const future = outputArea.future as CellFuture | undefined;
    const isRunningHere = future !== undefined && model.executionState === 'running';
    return isRunningHere || this._options.election.isWrittenElsewhere(id);
  }

  private _restoreCell(cell: CodeCell, record: IExecution): void {
    const isFinal = FINAL_STATES.includes(record.state);
    if (isFinal && this._options.panel.context.model.collaborative) {
      const wasRunning = cell.model.executionState === 'running';
      cell.model.executionState = 'idle'; // The page that has set it is gone.
      if (!wasRunning && cell.model.executionCount === countOf(record)) {
        return; // The shared notebook already has the outputs.
      }
    }
    if (isFinal && !hasResult(record.state, record.error)) {
      return;
    }
    if (record.source.code?.trim() === cell.model.sharedModel.getSource().trim()) {
      this._show(cell, record);
      return;
    }
    this._offers.get(cell)?.dispose();
    const offer = new CellOffer({
      cell,
      isRunning: !isFinal,
      trans: this._options.trans,
      show: () =>
        void this._load(record.id).then(newer => {
          if (newer && !cell.isDisposed) {
            this._show(cell, newer);
          }
        })
    });
    offer.attach();
    this._offers.set(cell, offer);
    offer.disposed.connect(() => this._offers.delete(cell));
  }

  private _show(cell: CodeCell, record: IExecution): void {
    const { model } = cell;
    if (record.owner === this._options.username) {
      model.trusted = true;
    }
    if (FINAL_STATES.includes(record.state)) {
      model.outputs.fromJSON([...(record.result?.outputs ?? [])] as IOutput[]);
      model.executionCount = countOf(record);
      this._setTiming(cell, record);
    } else {
      void this._attach(cell, record);
    }
  }

  /** Follow an execution in its cell, as if this page had started it. */
  private async _attach(cell: CodeCell, record: IExecution): Promise<void> {
    const { election, feed, serverSettings } = this._options;
    const { model, outputArea } = cell;
    const content = { code: record.source.code ?? '' };
    const future = new ExecutionFuture(serverSettings, feed, content, Promise.resolve(record));
    model.clearExecution();
    model.executionState = 'running';
    outputArea.future = future;
    election.claim(record.id);
    try {
      const reply = await future.done;
      model.executionCount = reply.content.execution_count;
      const final = await this._load(record.id);
      if (final) {
        this._setTiming(cell, final);
      }
    } catch {
      // As after a cell that was executed: it ends without a prompt number.
      if (!cell.isDisposed && outputArea.future === future) {
        model.executionState = 'idle';
      }
    } finally {
      election.release(record.id);
    }
  }

  /** Record the times of an execution as JupyterLab does, if the user has enabled it. */
  private _setTiming(cell: CodeCell, { start_time: start, end_time: end }: IExecution): void {
    if (this._options.panel.content.notebookConfig.recordTiming && start && end) {
      cell.model.setMetadata('execution', {
        'iopub.status.busy': start,
        'iopub.execute_input': start,
        'shell.execute_reply.started': start,
        'shell.execute_reply': end,
        'iopub.status.idle': end
      });
    }
  }

  /** Return the newest execution of each cell, by the id of the cell. */
  private async _newest(savedTime: number): Promise<Map<string, IExecution>> {
    const newest = new Map<string, IExecution>();
    for (const states of [ACTIVE_STATES, FINAL_STATES]) {
      let pageToken: string | undefined;
      for (let page = 0; page < MAX_PAGES && (page === 0 || pageToken); page++) {
        const { executions, next_page_token: next } = await this._list(states, pageToken);
        for (const execution of executions) {
          const cellId = execution.origin?.cell_id ?? '';
          const known = newest.get(cellId);
          if (!known || known.created_time < execution.created_time) {
            newest.set(cellId, execution);
          }
        }
        // What was created before the file was saved may have ended after that: look at more.
        const last = executions.at(-1);
        pageToken = last && Date.parse(last.created_time) > savedTime ? next : undefined;
      }
    }
    return newest;
  }

  private _list(
    states: readonly State[],
    pageToken: string | undefined
  ): ReturnType<typeof listExecutions> {
    const { path, serverSettings } = this._options;
    return retrying(
      () =>
        listExecutions(serverSettings, {
          states,
          originPath: path,
          pageSize: PAGE_SIZE,
          pageToken
        }),
      this._abort.signal
    );
  }

  /** Return the full record; `null` when the server no longer has it. */
  private async _load(id: string): Promise<IExecution | null> {
    const { serverSettings } = this._options;
    const load = (): Promise<IExecution> => getExecution(serverSettings, id, { full: true });
    return retrying(load, this._abort.signal).catch(() => null);
  }

  private _onScheduled(_: unknown, { cell }: { readonly cell: object }): void {
    if (cell instanceof CodeCell) {
      this._offers.get(cell)?.dispose();
    }
  }

  private readonly _abort = new AbortController();
  private readonly _offers = new Map<CodeCell, CellOffer>();
}

/** Return the number of the prompt; `null` where the kernel announced none. */
function countOf(record: IExecution): number | null {
  return record.result?.execution_counts?.at(-1)?.execution_count ?? null;
}
