/** Checks that replies of the server have the shape that the front end relies on. */
import type {
  IExecution,
  IExecutionEvent,
  IExecutionPage,
  IFile,
  IFilePage,
  ISession,
  ISessionPage
} from './restapi';

type Kind = 'string' | 'number' | 'boolean' | 'object' | 'array';

/** The fields of a record that the front end reads without a check. */
export const EXECUTION_FIELDS: { readonly [name: string]: Kind } = {
  id: 'string',
  type: 'string',
  state: 'string',
  source: 'object',
  kernel_name: 'string',
  session_id: 'string',
  owner: 'string',
  description: 'string',
  labels: 'object',
  input_names: 'array',
  variable_names: 'array',
  created_time: 'string'
};

/** The fields of a result that the front end reads without a check. */
export const RESULT_FIELDS: { readonly [name: string]: Kind } = {
  outputs: 'array',
  stdout: 'string',
  stderr: 'string',
  variables: 'object'
};

/** The fields of a session that the front end reads without a check. */
export const SESSION_FIELDS: { readonly [name: string]: Kind } = {
  id: 'string',
  state: 'string',
  kernel_name: 'string',
  created_time: 'string',
  last_activity_time: 'string',
  is_attached: 'boolean',
  owner: 'string',
  description: 'string',
  pending_count: 'number'
};

/** The fields of a file that the front end reads without a check. */
export const FILE_FIELDS: { readonly [name: string]: Kind } = {
  name: 'string',
  path: 'string',
  type: 'string'
};

/** Throw a `TypeError` unless *data* is an execution. */
export function assertExecution(data: unknown): asserts data is IExecution {
  assertFields(data, EXECUTION_FIELDS, 'execution');
  if ('result' in data) {
    assertFields(data.result, RESULT_FIELDS, 'result');
  }
}

/** Throw a `TypeError` unless *data* is a page of executions. */
export function assertExecutionPage(data: unknown): asserts data is IExecutionPage {
  assertFields(data, { executions: 'array' }, 'page of executions');
  (data.executions as unknown[]).forEach(assertExecution);
}

/** Throw a `TypeError` unless *data* tells how many executions were deleted. */
export function assertDeletedCount(data: unknown): asserts data is { readonly deleted: number } {
  assertFields(data, { deleted: 'number' }, 'count of deleted executions');
}

/** Throw a `TypeError` unless *data* is a session. */
export function assertSession(data: unknown): asserts data is ISession {
  assertFields(data, SESSION_FIELDS, 'session');
}

/** Throw a `TypeError` unless *data* is a page of sessions. */
export function assertSessionPage(data: unknown): asserts data is ISessionPage {
  assertFields(data, { sessions: 'array' }, 'page of sessions');
  (data.sessions as unknown[]).forEach(assertSession);
}

/** Throw a `TypeError` unless *data* is a file of a session. */
export function assertFile(data: unknown): asserts data is IFile {
  assertFields(data, FILE_FIELDS, 'file');
}

/** Throw a `TypeError` unless *data* is a page of files. */
export function assertFilePage(data: unknown): asserts data is IFilePage {
  assertFields(data, { files: 'array' }, 'page of files');
  (data.files as unknown[]).forEach(assertFile);
}

/** Throw a `TypeError` unless *data* is an event. */
export function assertEvent(data: unknown): asserts data is IExecutionEvent {
  assertFields(data, { type: 'string' }, 'event');
}

function assertFields(
  data: unknown,
  fields: { readonly [name: string]: Kind },
  what: string
): asserts data is { [name: string]: unknown } {
  if (typeof data !== 'object' || data === null) {
    throw new TypeError(`The server sent an invalid ${what}: not an object`);
  }
  for (const [name, kind] of Object.entries(fields)) {
    const value = (data as { [name: string]: unknown })[name];
    const found = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
    if (found !== kind) {
      throw new TypeError(
        `The server sent an invalid ${what}: ${name} must be of type ${kind}, not ${found}`
      );
    }
  }
}
