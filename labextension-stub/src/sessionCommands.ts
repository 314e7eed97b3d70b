/** The commands for sessions. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { CommandIDs, idOf } from './commands';
import { messageOf } from './format';
import { endSession, interruptSession, restartSession, type ISession } from './restapi';
import { sessionName } from './sessions';
import type { ISessionsModel } from './tokens';

/** Commands of JupyterLab that Notebook 7 has only on some pages. */
const CREATE_CONSOLE = 'console:create';
const GO_TO_PATH = 'filebrowser:go-to-path';
const SHOW_FILE_BROWSER = 'filebrowser:activate';

export interface ISessionCommandsOptions {
  readonly commands: CommandRegistry;
  readonly model: ISessionsModel;
  readonly serverSettings: ServerConnection.ISettings;
  readonly trans: TranslationBundle;
}

const ID_ARGUMENT = {
  args: {
    type: 'object',
    properties: { id: { type: 'string', description: 'The id of a session' } },
    required: ['id']
  }
} as const;

/** Register the commands for sessions. */
export function addSessionCommands(options: ISessionCommandsOptions): void {
  const { commands, model, serverSettings, trans } = options;
  const add = (
    command: string,
    label: string,
    action: (session: ISession) => Promise<void>
  ): void => {
    commands.addCommand(command, {
      label,
      describedBy: ID_ARGUMENT,
      execute: async (args: ReadonlyPartialJSONObject) => {
        const session = model.get(idOf(args));
        try {
          await (session && action(session));
        } catch (reason) {
          Notification.error(messageOf(reason), { autoClose: false });
        }
      }
    });
  };

  add(CommandIDs.attachConsole, trans.__('Attach Console'), async ({ path, kernel_id: id }) => {
    await commands.execute(CREATE_CONSOLE, {
      path: path ?? '',
      activate: true,
      kernelPreference: { id: id ?? '' }
    });
  });
  add(CommandIDs.openFolder, trans.__('Open Folder of Session'), async ({ path }) => {
    await commands.execute(GO_TO_PATH, { path: `/${path ?? ''}`, dontShowBrowser: false });
    if (commands.hasCommand(SHOW_FILE_BROWSER)) {
      await commands.execute(SHOW_FILE_BROWSER);
    }
  });
  add(CommandIDs.interruptSession, trans.__('Interrupt Session'), async ({ id }) => {
    model.update(await interruptSession(serverSettings, id));
  });
  add(CommandIDs.restartSession, trans.__('Restart Kernel of Session'), async session => {
    const isConfirmed = await confirm(
      trans.__('Restart the kernel of %1?', sessionName(session)),
      trans.__('Its variables are lost. What runs in it fails.'),
      trans.__('Restart'),
      trans
    );
    if (isConfirmed) {
      model.update(await restartSession(serverSettings, session.id));
    }
  });
  add(CommandIDs.endSession, trans.__('End Session'), async session => {
    const isConfirmed = await confirm(
      trans.__('End %1?', sessionName(session)),
      session.is_attached
        ? trans.__('What runs or waits in it fails. Its kernel belongs to a notebook and stays.')
        : trans.__('What runs or waits in it fails, and its variables are lost.'),
      trans.__('End'),
      trans
    );
    if (isConfirmed) {
      await endSession(serverSettings, session.id);
      model.remove(session.id);
    }
  });
}

/** Return why a console cannot be attached to a session; `null` when it can. */
export function consoleReason(
  session: ISession,
  commands: CommandRegistry,
  trans: TranslationBundle
): string | null {
  if (!commands.hasCommand(CREATE_CONSOLE)) {
    return trans.__('This page has no consoles');
  }
  return session.kernel_id ? null : trans.__('The session has no kernel yet');
}

/** Return why the folder of a session cannot be shown; `null` when it can. */
export function folderReason(
  session: ISession,
  commands: CommandRegistry,
  trans: TranslationBundle
): string | null {
  if (!commands.hasCommand(GO_TO_PATH)) {
    return trans.__('This page has no file browser');
  }
  return session.path === undefined ? trans.__('The session has no folder') : null;
}

async function confirm(
  title: string,
  body: string,
  label: string,
  trans: TranslationBundle
): Promise<boolean> {
  const buttons = [
    Dialog.cancelButton({ label: trans.__('Cancel') }),
    Dialog.warnButton({ label })
  ];
  return (await showDialog({ title, body, buttons })).button.accept;
}
