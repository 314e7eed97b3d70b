/** What the dialog suggests and remembers for each notebook. */
import type { Cells } from './restapi';

/** One input: a value that the notebook reads from its environment. */
export interface IInput {
  readonly name: string;
  readonly value: string;
  /** Whether the value is masked and never remembered. */
  readonly isSecret: boolean;
}

/** Where the executed notebook is written. */
export type SaveTo = 'record' | 'copy' | 'in_place';

/** What one run of a notebook is asked for. */
export interface IRunOptions {
  readonly inputs: readonly IInput[];
  readonly variableNames: readonly string[];
  /** The name of a kernelspec; empty for the notebook's own. */
  readonly kernelName: string;
  /** In seconds; `null` for the server's own limit. */
  readonly timeoutSeconds: number | null;
  readonly saveTo: SaveTo;
  /** Which cells to run; `null` for all. */
  readonly cells: Cells | null;
}

export const DEFAULT_OPTIONS: IRunOptions = {
  inputs: [],
  variableNames: [],
  kernelName: '',
  timeoutSeconds: null,
  saveTo: 'record',
  cells: null
};

const NAME = '[A-Za-z_][A-Za-z0-9_]*';

/** The ways in which notebooks read environment variables, in Python, R and JavaScript. */
const READS = [
  `os\\.environ\\[\\s*['"](${NAME})['"]\\s*\\]`,
  `os\\.environ\\.get\\(\\s*['"](${NAME})['"]`,
  `os\\.getenv\\(\\s*['"](${NAME})['"]`,
  `Sys\\.getenv\\(\\s*['"](${NAME})['"]`,
  `process\\.env\\.(${NAME})`
].map(source => new RegExp(source, 'g'));

const SECRET = /TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL/i;

/** Names that the server refuses as inputs, or that every process has. */
const NOT_INPUTS =
  /^(PATH|HOME|SHELL|IFS|ENV|BASH_ENV|TMPDIR|USER|LD_.*|DYLD_.*|PYTHON.*|JUPYTER.*|JPY_.*|KERNEL_.*)$/i;

/** Return the names of the environment variables that *sources* read, in order of appearance. */
export function suggestedNames(sources: Iterable<string>): string[] {
  const names = new Set<string>();
  for (const source of sources) {
    const found = READS.flatMap(pattern =>
      [...source.matchAll(pattern)].map(match => ({ index: match.index, name: match[1] }))
    );
    found.sort((a, b) => a.index - b.index).forEach(({ name }) => names.add(name));
  }
  return [...names].filter(name => !NOT_INPUTS.test(name));
}

/** Whether the value of an input with this name is masked unless the user shows it. */
export function isSecretName(name: string): boolean {
  return SECRET.test(name);
}

/** Whether the server takes an input with this name. */
export function isValidName(name: string): boolean {
  return new RegExp(`^${NAME}$`).test(name);
}

/** Of how many executions the options are remembered, so that they can run again. */
const MAX_RUNS = 100;

function withoutSecrets(options: IRunOptions): IRunOptions {
  const inputs = options.inputs.map(input => (input.isSecret ? { ...input, value: '' } : input));
  return { ...options, inputs };
}

/** Remembers the options of each notebook in the browser, without the values of secrets. */
export class RememberedOptions {
  /**
   * @param baseUrl - The server: notebooks of two servers are not mixed.
   */
  constructor(baseUrl: string, storage: Storage = window.localStorage) {
    this._prefix = `jupyter-exec-ext:options:${baseUrl}:`;
    this._runsKey = `jupyter-exec-ext:runs:${baseUrl}`;
    this._storage = storage;
  }

  /** Return what was remembered for the notebook at *path*; `null` if nothing. */
  load(path: string): IRunOptions | null {
    try {
      const text = this._storage.getItem(this._prefix + path);
      return text === null ? null : { ...DEFAULT_OPTIONS, ...(JSON.parse(text) as IRunOptions) };
    } catch {
      return null; // Blocked by the browser, or not written by this version.
    }
  }

  /** Remember *options* for the notebook at *path*; a browser that refuses is ignored. */
  save(path: string, options: IRunOptions): void {
    this._store(this._prefix + path, { ...withoutSecrets(options), cells: null });
  }

  /** Return the options of the execution with this id; `null` when they are forgotten. */
  loadRun(id: string): IRunOptions | null {
    return this._runs()[id] ?? null;
  }

  /** Remember *options* for the execution with this id, and forget the oldest of many. */
  saveRun(id: string, options: IRunOptions): void {
    const runs: [string, IRunOptions][] = Object.entries(this._runs());
    runs.push([id, withoutSecrets(options)]);
    this._store(this._runsKey, Object.fromEntries(runs.slice(-MAX_RUNS)));
  }

  private _runs(): { readonly [id: string]: IRunOptions } {
    try {
      return JSON.parse(this._storage.getItem(this._runsKey) ?? '{}') as {
        [id: string]: IRunOptions;
      };
    } catch {
      return {};
    }
  }

  private _store(key: string, value: object): void {
    try {
      this._storage.setItem(key, JSON.stringify(value));
    } catch {
      return;
    }
  }

  private readonly _prefix: string;
  private readonly _runsKey: string;
  private readonly _storage: Storage;
}

/** Return the remembered inputs, with an empty row for each suggested name that has none. */
export function mergedInputs(remembered: readonly IInput[], names: readonly string[]): IInput[] {
  const known = new Set(remembered.map(input => input.name));
  const added = names
    .filter(name => !known.has(name))
    .map(name => ({ name, value: '', isSecret: isSecretName(name) }));
  return [...remembered, ...added];
}
