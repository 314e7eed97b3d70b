/** For which notebooks cells run on the server. */
import { Signal, type ISignal } from '@lumino/signaling';

/** The setting for all notebooks, and the choices for single ones, which the browser remembers. */
export class CellSwitch {
  /**
   * @param baseUrl - The server: notebooks of two servers are not mixed.
   */
  constructor(
    baseUrl: string,
    private readonly _storage: Storage = window.localStorage
  ) {
    this._prefix = `jupyter-exec-ext:cells:${baseUrl}:`;
  }

  /** Whether cells of notebooks without a choice of their own run on the server. */
  get isDefaultOn(): boolean {
    return this._isDefaultOn;
  }

  set isDefaultOn(value: boolean) {
    if (value !== this._isDefaultOn) {
      this._isDefaultOn = value;
      this._changed.emit();
    }
  }

  /** Emitted when the answer of `isOn` may have changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  isOn(path: string): boolean {
    const chosen = this._chosen.get(path) ?? this._load(path);
    return chosen === null ? this._isDefaultOn : chosen === 'on';
  }

  /** Choose for one notebook; the choice ends where it is that of the setting. */
  set(path: string, isOn: boolean): void {
    const choice = isOn ? 'on' : 'off';
    this._chosen.set(path, choice);
    try {
      if (isOn === this._isDefaultOn) {
        this._storage.removeItem(this._prefix + path);
      } else {
        this._storage.setItem(this._prefix + path, choice);
      }
    } catch {
      // A browser that blocks its storage remembers the choice for this page only.
    }
    this._changed.emit();
  }

  private _load(path: string): string | null {
    try {
      return this._storage.getItem(this._prefix + path);
    } catch {
      return null;
    }
  }

  private readonly _prefix: string;
  private readonly _chosen = new Map<string, string>();
  private readonly _changed = new Signal<this, void>(this);
  private _isDefaultOn = false;
}
