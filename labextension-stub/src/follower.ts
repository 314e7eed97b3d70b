/** Follows the events of one execution, across lost connections. */
import type { IOutput } from '@jupyterlab/nbformat';
import { OutputAreaModel } from '@jupyterlab/outputarea';
import { ServerConnection } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { Signal, type ISignal } from '@lumino/signaling';
import { ConnectionTakenError, followExecution, type IExecutionEvent } from './restapi';

const MIN_RETRY = 500;
const MAX_RETRY = 15_000;

/** The outputs of one cell. */
export interface ICellOutputs {
  /** The index of the cell in the notebook, from 0. */
  readonly cellIndex: number;
  readonly model: OutputAreaModel;
}

/**
 * Rebuilds what an execution publishes: its printed text, and the outputs of each cell.
 *
 * The stream begins with the first event that the server keeps. When the connection is lost, the
 * follower asks for what came after the last event that it has.
 */
export class ExecutionFollower implements IDisposable {
  /**
   * @param trusted - Whether outputs may run scripts: only those of the user's own executions may.
   */
  constructor(
    private readonly _settings: ServerConnection.ISettings,
    readonly id: string,
    private readonly _trusted: boolean
  ) {}

  /** The cells that have published something, in the order of their first output. */
  get cells(): readonly ICellOutputs[] {
    return [...this._cells.values()];
  }

  /** Emitted with printed text. */
  get printed(): ISignal<this, string> {
    return this._printed;
  }

  /** Emitted when a cell publishes its first output. */
  get cellAdded(): ISignal<this, ICellOutputs> {
    return this._cellAdded;
  }

  /** Emitted with each event that is about the execution itself. */
  get reported(): ISignal<this, IExecutionEvent> {
    return this._reported;
  }

  /** Emitted when the connection is lost (`true`) and when it works again (`false`). */
  get isCutOff(): ISignal<this, boolean> {
    return this._isCutOff;
  }

  get isDisposed(): boolean {
    return this._abort.signal.aborted;
  }

  /** Follow the execution to its end; resolve early when disposed or when it was deleted. */
  async follow(): Promise<void> {
    let retry = MIN_RETRY;
    while (!this.isDisposed) {
      await this._whenShown;
      try {
        for await (const event of followExecution(
          this._settings,
          this.id,
          this._last,
          AbortSignal.any([this._abort.signal, this._hiding.signal]),
          { takes: this._takes }
        )) {
          if (retry !== MIN_RETRY) {
            retry = MIN_RETRY;
            this._isCutOff.emit(false);
          }
          this._take(event);
          if (event.type === 'end') {
            return;
          }
        }
        if (this._hasEnded) {
          return;
        }
      } catch (reason) {
        if (isRefusal(reason)) {
          return;
        }
        if (reason instanceof ConnectionTakenError || this._hiding.signal.aborted) {
          this._takes = false;
          continue;
        }
      }
      if (!this.isDisposed) {
        this._isCutOff.emit(true);
        await new Promise(resolve => setTimeout(resolve, retry));
        retry = Math.min(2 * retry, MAX_RETRY);
      }
    }
  }

  /** Follow on, on the connection of another follower if need be. */
  show(): void {
    if (this._hiding.signal.aborted) {
      this._hiding = new AbortController();
    }
    this._takes = true;
    this._onShown();
  }

  /** Leave the connection to others until `show` is called; nothing is lost. */
  hide(): void {
    if (!this._hiding.signal.aborted) {
      this._whenShown = new Promise(resolve => (this._onShown = resolve));
      this._hiding.abort();
    }
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._abort.abort();
      this._onShown();
      this._cells.forEach(({ model }) => model.dispose());
      Signal.clearData(this);
    }
  }

  private _take(event: IExecutionEvent): void {
    if (event.id !== undefined) {
      this._last = event.id;
    }
    switch (event.type) {
      case 'stream':
        this._printed.emit(event.text ?? '');
        this._modelOf(event).add({
          output_type: 'stream',
          name: event.name ?? 'stdout',
          text: event.text ?? ''
        });
        break;
      case 'output':
        if (event.output) {
          this._add(event, event.output);
        }
        break;
      case 'update':
        this._update(event);
        break;
      case 'clear':
        this._modelOf(event).clear(event.wait);
        break;
      case 'heartbeat':
        break;
      default:
        this._hasEnded ||= event.type === 'end';
        this._reported.emit(event);
    }
  }

  private _add(event: IExecutionEvent, output: IOutput): void {
    const model = this._modelOf(event);
    const length = model.add(output);
    if (event.display_id) {
      const places = this._displays.get(event.display_id) ?? [];
      places.push({ model, index: length - 1 });
      this._displays.set(event.display_id, places);
    }
  }

  private _update(event: IExecutionEvent): void {
    for (const { model, index } of this._displays.get(event.display_id ?? '') ?? []) {
      if (index < model.length) {
        const shown = model.get(index).toJSON();
        model.set(index, { ...shown, data: event.data, metadata: event.metadata ?? {} });
      }
    }
  }

  private _modelOf(event: IExecutionEvent): OutputAreaModel {
    const cellIndex = event.cell_index ?? 0;
    let cell = this._cells.get(cellIndex);
    if (!cell) {
      cell = { cellIndex, model: new OutputAreaModel({ trusted: this._trusted }) };
      this._cells.set(cellIndex, cell);
      this._cellAdded.emit(cell);
    }
    return cell.model;
  }

  private readonly _abort = new AbortController();
  private readonly _cells = new Map<number, ICellOutputs>();
  private readonly _displays = new Map<string, { model: OutputAreaModel; index: number }[]>();
  private readonly _printed = new Signal<this, string>(this);
  private readonly _cellAdded = new Signal<this, ICellOutputs>(this);
  private readonly _reported = new Signal<this, IExecutionEvent>(this);
  private readonly _isCutOff = new Signal<this, boolean>(this);
  private _hiding = new AbortController();
  private _whenShown: Promise<void> = Promise.resolve();
  private _onShown: () => void = () => undefined;
  private _takes = true;
  private _last = 0;
  private _hasEnded = false;
}

/** Whether the server refused the request for good: the record is gone, or the right to read it. */
function isRefusal(reason: unknown): boolean {
  return (
    reason instanceof ServerConnection.ResponseError && [403, 404].includes(reason.response.status)
  );
}
