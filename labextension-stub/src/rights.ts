/** What the user may do, and how the front end explains what the user may not. */
import type { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import { getRights, type IRights } from './restapi';

/** What the user may do with executions and sessions. */
export interface IPermissions {
  /** Whether the user may list and show executions. */
  readonly canRead: boolean;
  /** Whether the user may run and cancel executions, and answer their input requests. */
  readonly canExecute: boolean;
  /** Whether the user may delete executions. */
  readonly canDelete: boolean;
  /** Whether the user may list and show sessions. */
  readonly canReadSessions: boolean;
  /** Whether the user may interrupt and restart sessions. */
  readonly canExecuteSessions: boolean;
  /** Whether the user may end sessions. */
  readonly canWriteSessions: boolean;
  /** Whether the user may list and download the files of sessions. */
  readonly canReadFiles: boolean;
  /** Whether the user may upload files into sessions. */
  readonly canWriteFiles: boolean;
}

export const NO_PERMISSIONS: IPermissions = {
  canRead: false,
  canExecute: false,
  canDelete: false,
  canReadSessions: false,
  canExecuteSessions: false,
  canWriteSessions: false,
  canReadFiles: false,
  canWriteFiles: false
};

const WANTED: IRights = {
  executions: ['read', 'write', 'execute'],
  'exec-sessions': ['read', 'write', 'execute'],
  'exec-files': ['read', 'write'],
  kernels: ['execute']
};

/** Load what the user may do. */
export async function loadPermissions(settings: ServerConnection.ISettings): Promise<IPermissions> {
  const rights = await getRights(settings, WANTED);
  const may = (action: string, resource: string): boolean =>
    rights[resource]?.includes(action) ?? false;
  const mayUseKernels = may('execute', 'kernels');
  return {
    canRead: may('read', 'executions'),
    canExecute: may('execute', 'executions') && mayUseKernels,
    canDelete: may('write', 'executions'),
    canReadSessions: may('read', 'exec-sessions'),
    canExecuteSessions: may('execute', 'exec-sessions') && mayUseKernels,
    canWriteSessions: may('write', 'exec-sessions'),
    canReadFiles: may('read', 'exec-files'),
    canWriteFiles: may('write', 'exec-files')
  };
}

/** Return why the user may not do what needs *right*; `null` when the user may. */
export function missingRight(
  permissions: IPermissions,
  right: keyof IPermissions,
  trans: TranslationBundle
): string | null {
  if (permissions[right]) {
    return null;
  }
  switch (right) {
    case 'canRead':
      return trans.__('You do not have the right to see executions');
    case 'canExecute':
      return trans.__('You do not have the right to run executions on this server');
    case 'canDelete':
      return trans.__('You do not have the right to delete executions');
    case 'canReadSessions':
      return trans.__('You do not have the right to see sessions');
    case 'canExecuteSessions':
      return trans.__('You do not have the right to interrupt or restart sessions');
    case 'canWriteSessions':
      return trans.__('You do not have the right to end sessions');
    case 'canReadFiles':
      return trans.__('You do not have the right to read the files of sessions');
    case 'canWriteFiles':
      return trans.__('You do not have the right to upload files into sessions');
  }
}
