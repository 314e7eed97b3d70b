/** Checks that replies of the server have the shape that the front end relies on. */
import type {
  IExecution,
  IExecutionEvent,
  IExecutionPage,
  ISession,
  ISessionPage
} from './restapi';

type Kind = 'string' | 'number' | 'object' | 'array';

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

/** Throw a `TypeError` unless *data* is a session. */
export function assertSession(data: unknown): asserts data is ISession {
  assertFields(data, { id: 'string' }, 'session');
}

/** Throw a `TypeError` unless *data* is a page of sessions. */
export function assertSessionPage(data: unknown): asserts data is ISessionPage {
  assertFields(data, { sessions: 'array' }, 'page of sessions');
  (data.sessions as unknown[]).forEach(assertSession);
}

/** Throw a `TypeError` unless *data* tells how many executions were deleted. */
export function assertDeletedCount(data: unknown): asserts data is { readonly deleted: number } {
  assertFields(data, { deleted: 'number' }, 'count of deleted executions');
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
