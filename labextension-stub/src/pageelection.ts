/** Which of the pages that show a shared notebook brings back the outputs of its cells. */
import type { IDisposable } from '@lumino/disposable';
import { Signal, type ISignal } from '@lumino/signaling';

/** The state of all pages that show a document: Yjs's `Awareness`, as far as it is used here. */
export interface IAwareness {
  readonly clientID: number;
  getStates(): Map<number, { [name: string]: unknown }>;
  setLocalStateField(field: string, value: unknown): void;
  on(name: 'change', listener: (change: { readonly removed: readonly number[] }) => void): void;
  off(name: 'change', listener: (change: { readonly removed: readonly number[] }) => void): void;
}

/** In the state of a page: the ids of the executions whose outputs it writes. */
const FIELD = 'jupyter-exec-ext';

/** How long the states of other pages may take to arrive, and how often to look, in milliseconds. */
const STATES_WAIT = 1_000;
const STATES_POLL = 50;

/**
 * Lets one page at a time write the outputs of an execution into a shared notebook.
 *
 * A page that starts an execution writes its outputs. When pages leave, the remaining one with the
 * lowest client id takes over.
 */
export class PageElection implements IDisposable {
  /**
   * @param awareness - `null` for a notebook that is not shared: the page is on its own.
   */
  constructor(private readonly _awareness: IAwareness | null) {
    this._awareness?.setLocalStateField(FIELD, []);
    this._awareness?.on('change', this._onChange);
  }

  /** Emitted when another page left and this one takes over what it wrote. */
  get tookOver(): ISignal<this, void> {
    return this._tookOver;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Return whether no other page shows the notebook, once the states of the others had time to come. */
  async isAlone(): Promise<boolean> {
    if (this._awareness !== null) {
      await this._otherState();
    }
    return this._others().length === 0;
  }

  /** Whether another page writes the outputs of the execution with this id. */
  isWrittenElsewhere(id: string): boolean {
    return this._others().some(([, ids]) => ids.includes(id));
  }

  /** Announce that this page writes the outputs of an execution, until `release`. */
  claim(id: string): void {
    this._claimed.add(id);
    this._announce();
  }

  release(id: string): void {
    if (this._claimed.delete(id)) {
      this._announce();
    }
  }

  dispose(): void {
    this._isDisposed = true;
    this._awareness?.off('change', this._onChange);
    Signal.clearData(this);
  }

  /** Wait until there is another page, or for `STATES_WAIT`. */
  private async _otherState(): Promise<void> {
    const end = performance.now() + STATES_WAIT;
    while (!this._isDisposed && !this._others().length && performance.now() < end) {
      await new Promise(resolve => setTimeout(resolve, STATES_POLL));
    }
  }

  private _announce(): void {
    this._awareness?.setLocalStateField(FIELD, [...this._claimed]);
  }

  /** The other pages with this extension: their client ids, and the executions that they write. */
  private _others(): [number, readonly string[]][] {
    const own = this._awareness?.clientID;
    return [...(this._awareness?.getStates() ?? [])].flatMap(([client, state]) => {
      const ids = state[FIELD];
      return client !== own && Array.isArray(ids) ? [[client, ids as string[]]] : [];
    });
  }

  private readonly _onChange = ({ removed }: { readonly removed: readonly number[] }): void => {
    const own = this._awareness?.clientID ?? 0;
    if (removed.length && this._others().every(([client]) => client > own)) {
      this._tookOver.emit();
    }
  };

  private readonly _claimed = new Set<string>();
  private readonly _tookOver = new Signal<this, void>(this);
  private _isDisposed = false;
}
