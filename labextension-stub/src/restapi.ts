/** One function for each endpoint of the REST API that the front end uses. */
import { URLExt } from '@jupyterlab/coreutils';
import type { INotebookContent, IOutput } from '@jupyterlab/nbformat';
import { ServerConnection } from '@jupyterlab/services';
import type { PartialJSONObject, ReadonlyPartialJSONValue } from '@lumino/coreutils';
import { Slot } from './slots';
import {
  assertDeletedCount,
  assertEvent,
  assertExecution,
  assertExecutionPage,
  assertFile,
  assertFilePage,
  assertSession,
  assertSessionPage
} from './validate';

/** The states of an execution, in their order. */
export const STATES = [
  'pending',
  'running',
  'cancelling',
  'succeeded',
  'failed',
  'cancelled'
] as const;

export type State = (typeof STATES)[number];

/** The states that never change again. */
export const FINAL_STATES: readonly State[] = ['succeeded', 'failed', 'cancelled'];

/** The states of an execution that waits or runs. */
export const ACTIVE_STATES: readonly State[] = ['pending', 'running', 'cancelling'];

/** Which cells of a notebook to run: ids and indexes, or a range. */
export type Cells =
  | readonly (string | number)[]
  | { readonly from: string | number }
  | { readonly up_to: string | number };

export interface IProgress {
  readonly done: number;
  readonly total: number;
  readonly current_cell_id?: string;
  readonly current_cell_index?: number;
}

export interface IExecutionError {
  readonly code: string;
  readonly message: string;
  readonly ename?: string;
  readonly evalue?: string;
  readonly traceback?: readonly string[];
  readonly cell_id?: string;
  readonly cell_index?: number;
}

export interface IInputRequest {
  readonly prompt: string;
  readonly password: boolean;
  /** The id of the event that reported the request. */
  readonly event_id?: number;
}

/** An output variable: its value as JSON, or what the kernel displays for it. */
export interface IVariable {
  readonly type?: string;
  readonly json?: ReadonlyPartialJSONValue;
  readonly data?: PartialJSONObject;
  readonly truncated?: boolean;
  readonly error?: string;
}

export interface IResult {
  readonly outputs: readonly IOutput[];
  readonly stdout: string;
  readonly stderr: string;
  readonly variables: { readonly [name: string]: IVariable };
  readonly execution_counts?: readonly { readonly execution_count: number }[];
  readonly notebook_path?: string;
  readonly save_conflict?: string;
  readonly save_error?: string;
}

export interface ISource {
  /** The path of a notebook, relative to the server's root. */
  readonly path?: string;
  readonly cells?: Cells;
  readonly save_to?: string;
  /** Whether the notebook came with the request, instead of from the file. */
  readonly has_content?: boolean;
  /** The beginning of the code in lists, all of it in a full record. */
  readonly code?: string;
}

/** The cell that a piece of code came from. */
export interface IOrigin {
  /** The path of the notebook, relative to the server's root. */
  readonly path: string;
  readonly cell_id?: string;
}

/** An execution, as the server shows it. Times are RFC 3339 in UTC, durations are seconds. */
export interface IExecution {
  readonly id: string;
  readonly type: 'code' | 'notebook' | 'command';
  readonly state: State;
  readonly source: ISource;
  readonly origin?: IOrigin;
  readonly kernel_name: string;
  readonly kernel_id?: string;
  readonly session_id: string;
  readonly session_name?: string;
  readonly owner: string;
  readonly description: string;
  readonly labels: { readonly [name: string]: string };
  readonly input_names: readonly string[];
  readonly variable_names: readonly string[];
  readonly timeout_seconds?: number;
  readonly created_time: string;
  readonly start_time?: string;
  readonly end_time?: string;
  readonly duration_seconds?: number;
  readonly position?: number;
  readonly progress?: IProgress;
  readonly input_request?: IInputRequest;
  readonly error?: IExecutionError;
  /** Present in a full record only. */
  readonly result?: IResult;
}

export interface IExecutionPage {
  readonly executions: readonly IExecution[];
  /** Gets the next page; absent on the last. */
  readonly next_page_token?: string;
}

/** Another stream or a transfer has taken the connection of a stream, which can be resumed. */
export class ConnectionTakenError extends Error {
  override readonly name = 'ConnectionTakenError';
}

/** A request to run a notebook. */
export interface INotebookRequest {
  readonly notebook: {
    readonly path: string;
    readonly cells?: Cells;
    readonly save_to?: string;
    /** What runs instead of the file at the path. */
    readonly content?: INotebookContent;
  };
  readonly kernel_name?: string;
  readonly inputs?: { readonly [name: string]: string };
  readonly variable_names?: readonly string[];
  readonly timeout_seconds?: number;
  readonly description?: string;
  readonly labels?: { readonly [name: string]: string };
}

/** A request to run the code of a cell. */
export interface ICodeRequest {
  readonly code: string;
  readonly session_id: string;
  readonly origin: IOrigin;
  /** The id of an execution: unless that one succeeds, this one is cancelled. */
  readonly after?: string;
}

/** An event of an execution. `id` is absent from a `gap`, which nothing can resume after. */
export interface IExecutionEvent {
  readonly id?: number;
  readonly type: string;
  /** Present in a stream of several executions, as is `cursor`. */
  readonly execution_id?: string;
  readonly cursor?: string;
  readonly time?: string;
  readonly cell_index?: number;
  readonly state?: State;
  readonly done?: number;
  readonly total?: number;
  readonly name?: string;
  readonly text?: string;
  readonly output?: IOutput;
  readonly display_id?: string;
  readonly data?: PartialJSONObject;
  readonly metadata?: PartialJSONObject;
  readonly wait?: boolean;
  readonly prompt?: string;
  readonly password?: boolean;
  readonly lost?: number;
  readonly execution_count?: number;
  readonly payload?: PartialJSONObject;
  readonly error?: IExecutionError;
}

export interface IListQuery {
  readonly states?: readonly State[];
  readonly path?: string;
  /** The path of the notebook whose cells the code came from. */
  readonly originPath?: string;
  readonly pageSize?: number;
  readonly pageToken?: string;
}

/** What a session does: `starting` and `busy` become `idle`; `ended` never changes again. */
export type SessionState = 'starting' | 'idle' | 'busy' | 'ended';

/** A session, as the server shows it. Times are RFC 3339 in UTC. */
export interface ISession {
  readonly id: string;
  readonly state: SessionState;
  readonly kernel_name: string;
  readonly created_time: string;
  /** When an execution last began or ended in it. */
  readonly last_activity_time: string;
  readonly name?: string;
  readonly kernel_id?: string;
  /** Whether the kernel belongs to another client, so that it does not end with the session. */
  readonly is_attached: boolean;
  /** The folder of its files, relative to the server's root; absent when it has none. */
  readonly path?: string;
  readonly owner: string;
  readonly description: string;
  /** How many executions wait in its queue. */
  readonly pending_count: number;
  readonly kernel_error?: IExecutionError;
}

export interface ISessionPage {
  readonly sessions: readonly ISession[];
  readonly next_page_token?: string;
}

/** A file, folder or link of a session. */
export interface IFile {
  readonly name: string;
  /** The path in the folder of the session. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'link' | 'other';
  readonly size_bytes?: number;
}

export interface IFilePage {
  readonly files: readonly IFile[];
  readonly next_page_token?: string;
}

/** Actions by resource, as the server's authorizer names them. */
export interface IRights {
  readonly [resource: string]: readonly string[];
}

type Settings = ServerConnection.ISettings;

/**
 * A browser opens at most six connections to a server, for all pages together, and JupyterLab needs
 * them too. The front end uses two: one for short requests, one after the other, and one for what
 * takes long: a stream of events, or an upload.
 */
const shortRequests = new Slot();
const longRequests = new Slot();

/** After so many milliseconds without a whole reply a short request fails. */
const MAX_SHORT_REQUEST = 60_000;

/** List executions, the newest first. */
export async function listExecutions(
  settings: Settings,
  query: IListQuery
): Promise<IExecutionPage> {
  const parameters = new URLSearchParams();
  if (query.states?.length) {
    parameters.set('state', query.states.join(','));
  }
  if (query.path) {
    parameters.set('path', query.path);
  }
  if (query.originPath) {
    parameters.set('origin_path', query.originPath);
  }
  parameters.set('page_size', String(query.pageSize ?? 0));
  if (query.pageToken) {
    parameters.set('page_token', query.pageToken);
  }
  const page = await requestJSON(settings, `executions?${parameters}`);
  assertExecutionPage(page);
  return page;
}

/** Return one execution; with `full`, with its result and the traceback of its error. */
export async function getExecution(
  settings: Settings,
  id: string,
  options: { full: boolean }
): Promise<IExecution> {
  const view = options.full ? 'full' : 'basic';
  return executionOf(
    await requestJSON(settings, `executions/${encodeURIComponent(id)}?view=${view}`)
  );
}

/**
 * Run a notebook in the background.
 *
 * @param key - The client's own name for the request: sent again, it starts nothing.
 */
export function startNotebook(
  settings: Settings,
  request: INotebookRequest,
  key: string
): Promise<IExecution> {
  return startExecution(settings, request, key);
}

/**
 * Run the code of a cell in a session.
 *
 * @param key - The client's own name for the request: sent again, it starts nothing.
 */
export function startCode(
  settings: Settings,
  request: ICodeRequest,
  key: string
): Promise<IExecution> {
  return startExecution(settings, request, key);
}

async function startExecution(
  settings: Settings,
  request: INotebookRequest | ICodeRequest,
  key: string
): Promise<IExecution> {
  const reply = await requestJSON(settings, 'executions', {
    method: 'POST',
    body: JSON.stringify(request),
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key }
  });
  return executionOf(reply);
}

/**
 * Attach a session to a running kernel, unless the kernel has one; return the session's id.
 *
 * Pages that attach at the same time get the same session, by its name.
 */
export async function attachSession(settings: Settings, kernelId: string): Promise<string> {
  try {
    const session = await requestJSON(settings, 'sessions', {
      method: 'POST',
      body: JSON.stringify({ kernel_id: kernelId, name: `kernel-${kernelId}` }),
      headers: { 'Content-Type': 'application/json' }
    });
    assertSession(session);
    return session.id;
  } catch (reason) {
    if (!(reason instanceof ServerConnection.ResponseError) || reason.response.status !== 409) {
      throw reason;
    }
    // Another client attached a session with a name of its own.
    const page = await requestJSON(settings, 'sessions?page_size=1000');
    assertSessionPage(page);
    const found = page.sessions.find(session => session.kernel_id === kernelId);
    if (!found) {
      throw reason;
    }
    return found.id;
  }
}

/** Cancel an execution; a final one stays as it is. */
export async function cancelExecution(settings: Settings, id: string): Promise<IExecution> {
  const path = `executions/${encodeURIComponent(id)}/cancel?view=basic`;
  return executionOf(await requestJSON(settings, path, { method: 'POST' }));
}

/** Answer the input request of an execution; `null` ends its input. */
export async function answerInput(
  settings: Settings,
  id: string,
  value: string | null
): Promise<void> {
  await requestJSON(settings, `executions/${encodeURIComponent(id)}/input?view=basic`, {
    method: 'POST',
    body: JSON.stringify({ value }),
    headers: { 'Content-Type': 'application/json' }
  });
}

/** Delete the record of a final execution. */
export async function deleteExecution(settings: Settings, id: string): Promise<void> {
  await request(settings, `executions/${encodeURIComponent(id)}`, { method: 'DELETE' });
}

/** Delete all final executions in *states* and of *path*; return how many there were. */
export async function deleteExecutions(
  settings: Settings,
  query: { states: readonly State[]; path?: string }
): Promise<number> {
  const parameters = new URLSearchParams({ state: query.states.join(',') });
  if (query.path) {
    parameters.set('path', query.path);
  }
  const reply = await requestJSON(settings, `executions?${parameters}`, { method: 'DELETE' });
  assertDeletedCount(reply);
  return reply.deleted;
}

/** Return the executed notebook, with the outputs so far while it runs. */
export function getNotebook(settings: Settings, id: string): Promise<Blob> {
  return transfer(async () => {
    const path = `executions/${encodeURIComponent(id)}/notebook`;
    return (await send(settings, path)).blob();
  });
}

/**
 * Yield the events of an execution until it ends or *signal* aborts.
 *
 * @param after - The id of the last event that the caller has; 0 for all events.
 * @param options - `takes`: whether to take the connection from another stream, instead of waiting.
 * @throws A `ConnectionTakenError` when another long request takes the connection.
 */
export async function* followExecution(
  settings: Settings,
  id: string,
  after: number,
  signal: AbortSignal,
  options: { takes: boolean } = { takes: true }
): AsyncGenerator<IExecutionEvent> {
  const lease = await longRequests.acquire(signal, { ...options, canBeTaken: true });
  try {
    const path = `executions/${encodeURIComponent(id)}/events?after=${after}`;
    yield* readEvents(settings, path, lease.signal);
  } catch (reason) {
    throw lease.signal.aborted && !signal.aborted ? new ConnectionTakenError() : reason;
  } finally {
    lease.release();
  }
}

async function* readEvents(
  settings: Settings,
  path: string,
  signal: AbortSignal
): AsyncGenerator<IExecutionEvent> {
  const headers = { Accept: 'application/x-ndjson' };
  const response = await send(settings, path, { headers, signal });
  if (!response.body) {
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      const lines = (rest + value).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line) {
          const event: unknown = JSON.parse(line);
          assertEvent(event);
          yield event;
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/**
 * Yield the events of several executions until all have ended or *signal* aborts.
 *
 * @param cursor - That of the last event that the caller has, also of other executions; empty for
 *   all events.
 */
export async function* followExecutions(
  settings: Settings,
  ids: readonly string[],
  cursor: string,
  signal: AbortSignal
): AsyncGenerator<IExecutionEvent> {
  const parameters = new URLSearchParams(ids.map(id => ['id', id]));
  if (cursor) {
    parameters.set('after', cursor);
  }
  yield* readEvents(settings, `events?${parameters}`, signal);
}

/** Return one page of the sessions that have not ended, the newest first. */
export async function listSessions(
  settings: Settings,
  query: { pageSize: number; pageToken?: string }
): Promise<ISessionPage> {
  const parameters = new URLSearchParams({ page_size: String(query.pageSize) });
  if (query.pageToken) {
    parameters.set('page_token', query.pageToken);
  }
  const page = await requestJSON(settings, `sessions?${parameters}`);
  assertSessionPage(page);
  return page;
}

/** Interrupt what runs in a session. */
export async function interruptSession(settings: Settings, id: string): Promise<ISession> {
  return sessionOf(await requestJSON(settings, `${sessionPath(id)}/interrupt`, { method: 'POST' }));
}

/** Restart the kernel of a session; its variables are lost. */
export async function restartSession(settings: Settings, id: string): Promise<ISession> {
  return sessionOf(await requestJSON(settings, `${sessionPath(id)}/restart`, { method: 'POST' }));
}

/** End a session; what runs or waits in it fails. */
export async function endSession(settings: Settings, id: string): Promise<void> {
  await request(settings, sessionPath(id), { method: 'DELETE' });
}

/** Return one page of the files in a session's folder, in the order of their paths. */
export async function listFiles(
  settings: Settings,
  id: string,
  query: { pageToken?: string } = {}
): Promise<IFilePage> {
  const parameters = new URLSearchParams({ recursive: 'true' });
  if (query.pageToken) {
    parameters.set('page_token', query.pageToken);
  }
  const page = await requestJSON(settings, `${sessionPath(id)}/files?${parameters}`);
  assertFilePage(page);
  return page;
}

/**
 * Upload a file into the folder of a session.
 *
 * @returns `null` when there is such a file and *replaces* is false.
 */
export async function uploadFile(
  settings: Settings,
  id: string,
  path: string,
  content: Blob,
  options: { replaces: boolean }
): Promise<IFile | null> {
  const headers = {
    'Content-Type': 'application/octet-stream',
    ...(options.replaces ? {} : { 'If-None-Match': '*' })
  };
  return transfer(async () => {
    try {
      const init = { method: 'PUT', body: content, headers };
      const file: unknown = await (await send(settings, filePath(id, path), init)).json();
      assertFile(file);
      return file;
    } catch (reason) {
      if (reason instanceof ServerConnection.ResponseError && reason.response.status === 412) {
        return null;
      }
      throw reason;
    }
  });
}

/** Return the address at which the browser itself downloads a file of a session. */
export function fileUrl(settings: Settings, id: string, path: string): string {
  const url = URLExt.join(settings.baseUrl, 'exec') + '/' + filePath(id, path);
  const needsToken = settings.appendToken && settings.token;
  return needsToken ? `${url}?${new URLSearchParams({ token: settings.token })}` : url;
}

/** Return which of the *wanted* actions the server's authorizer allows the user. */
export async function getRights(settings: Settings, wanted: IRights): Promise<IRights> {
  const url = URLExt.join(settings.baseUrl, 'api/me');
  const response = await shortRequests.run(() =>
    ServerConnection.makeRequest(
      `${url}?${new URLSearchParams({ permissions: JSON.stringify(wanted) })}`,
      {},
      settings
    )
  );
  if (!response.ok) {
    throw await ServerConnection.ResponseError.create(response);
  }
  const reply = (await response.json()) as { permissions?: IRights };
  return reply.permissions ?? {};
}

function sessionPath(id: string): string {
  return `sessions/${encodeURIComponent(id)}`;
}

function filePath(id: string, path: string): string {
  return `${sessionPath(id)}/files/${path.split('/').map(encodeURIComponent).join('/')}`;
}

function sessionOf(reply: unknown): ISession {
  assertSession(reply);
  return reply;
}

function executionOf(reply: unknown): IExecution {
  assertExecution(reply);
  return reply;
}

async function requestJSON(
  settings: Settings,
  path: string,
  init: RequestInit = {}
): Promise<unknown> {
  return (await request(settings, path, init)).json();
}

/** Send a short request when its turn comes, and wait for the whole reply. */
function request(settings: Settings, path: string, init: RequestInit = {}): Promise<Response> {
  return shortRequests.run(async () => {
    const signal = AbortSignal.timeout(MAX_SHORT_REQUEST);
    const response = await send(settings, path, { signal, ...init });
    return new Response(response.status === 204 ? null : await response.blob(), response);
  });
}

/** Run an upload or a download when the connection for long requests is free. */
async function transfer<T>(task: () => Promise<T>): Promise<T> {
  const never = new AbortController().signal;
  const lease = await longRequests.acquire(never, { canBeTaken: false, takes: true });
  try {
    return await task();
  } finally {
    lease.release();
  }
}

async function send(settings: Settings, path: string, init: RequestInit = {}): Promise<Response> {
  const url = URLExt.join(settings.baseUrl, 'exec') + '/' + path;
  const response = await ServerConnection.makeRequest(url, init, settings);
  if (!response.ok) {
    throw await refusalOf(response);
  }
  return response;
}

/** Return the refusal with the server's own message, which its `ErrorBody` carries. */
async function refusalOf(response: Response): Promise<Error> {
  const data: unknown = await response
    .clone()
    .json()
    .catch(() => null);
  const message = (data as { message?: unknown } | null)?.message;
  return typeof message === 'string'
    ? new ServerConnection.ResponseError(response, message)
    : ServerConnection.ResponseError.create(response);
}
