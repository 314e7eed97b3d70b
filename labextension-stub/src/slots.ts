/** Bounds how many connections to the server the front end uses at a time. */

/** What the holder of a slot has. */
export interface ILease {
  /** Aborts when another caller has taken the slot, or when the holder's own signal aborts. */
  readonly signal: AbortSignal;
  release(): void;
}

export interface ISlotOptions {
  /** Whether a later caller may take the slot from this one. */
  readonly canBeTaken: boolean;
  /** Whether this caller takes the slot from a holder that it can be taken from. */
  readonly takes: boolean;
}

/** Something that one caller has at a time. */
export class Slot {
  /**
   * Wait for the slot. Callers get it in the order in which they asked, but those that keep it
   * until they release it come before those that it can be taken from.
   *
   * @throws The reason of *signal* when it aborts first.
   */
  async acquire(signal: AbortSignal, options: ISlotOptions): Promise<ILease> {
    signal.throwIfAborted();
    if (!this._holder) {
      return this._grant(signal, options);
    }
    const { promise, resolve, reject } = deferred<ILease>();
    const waiting: IWaiting = { signal, options, resolve };
    this._waiting = options.takes ? [waiting, ...this._waiting] : [...this._waiting, waiting];
    const onAbort = (): void => {
      this._waiting = this._waiting.filter(other => other !== waiting);
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (options.takes && this._holder.options.canBeTaken) {
      this._holder.take();
    }
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Run *task* when the slot is free, and return its result. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    const never = new AbortController().signal;
    const lease = await this.acquire(never, { canBeTaken: false, takes: false });
    try {
      return await task();
    } finally {
      lease.release();
    }
  }

  private _grant(signal: AbortSignal, options: ISlotOptions): ILease {
    const taking = new AbortController();
    const holder: IHolder = {
      options,
      signal: AbortSignal.any([signal, taking.signal]),
      take: () => taking.abort(),
      release: () => {
        if (this._holder === holder) {
          this._holder = null;
          this._grantNext();
        }
      }
    };
    this._holder = holder;
    return holder;
  }

  private _grantNext(): void {
    const next = this._waiting.find(({ options }) => !options.canBeTaken) ?? this._waiting[0];
    if (next) {
      this._waiting = this._waiting.filter(other => other !== next);
      next.resolve(this._grant(next.signal, next.options));
    }
  }

  private _holder: IHolder | null = null;
  private _waiting: readonly IWaiting[] = [];
}

interface IHolder extends ILease {
  readonly options: ISlotOptions;
  take(): void;
}

interface IWaiting {
  readonly signal: AbortSignal;
  readonly options: ISlotOptions;
  resolve(lease: ILease): void;
}

function deferred<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (reason: Error) => void;
} {
  let resolve!: (value: T) => void;
  let reject!: (reason: Error) => void;
  const promise = new Promise<T>((accept, refuse) => {
    resolve = accept;
    reject = refuse;
  });
  return { promise, resolve, reject };
}
