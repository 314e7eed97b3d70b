/** Uploads into the folder of a session. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import { messageOf } from './format';
import { uploadFile, type ISession } from './restapi';
import { sessionName } from './sessions';

/** Return the files that were dropped, and the names of the folders, which cannot be uploaded. */
export function droppedFiles(transfer: DataTransfer): { files: File[]; folders: string[] } {
  const folders = [...transfer.items]
    .map(item => item.webkitGetAsEntry())
    .filter(entry => entry?.isDirectory)
    .map(entry => entry?.name ?? '');
  return { files: [...transfer.files].filter(({ name }) => !folders.includes(name)), folders };
}

/** Upload files one after the other, and report what became of them; ask before replacing one. */
export async function uploadFiles(
  settings: ServerConnection.ISettings,
  session: ISession,
  files: readonly File[],
  trans: TranslationBundle
): Promise<void> {
  const name = sessionName(session);
  let count = 0;
  for (const file of files) {
    try {
      let uploaded = await uploadFile(settings, session.id, file.name, file, { replaces: false });
      if (!uploaded && (await mayReplace(file.name, name, trans))) {
        uploaded = await uploadFile(settings, session.id, file.name, file, { replaces: true });
      }
      count += uploaded ? 1 : 0;
    } catch (reason) {
      const message = trans.__('%1 was not uploaded: %2', file.name, messageOf(reason));
      Notification.error(message, { autoClose: false });
    }
  }
  if (count) {
    Notification.success(
      trans._n('%1 file uploaded to %2', '%1 files uploaded to %2', count, name),
      {
        autoClose: 4_000
      }
    );
  }
}

async function mayReplace(
  file: string,
  session: string,
  trans: TranslationBundle
): Promise<boolean> {
  const result = await showDialog({
    title: trans.__('Replace %1?', file),
    body: trans.__('The folder of %1 has a file with this name.', session),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Keep') }),
      Dialog.warnButton({ label: trans.__('Replace') })
    ]
  });
  return result.button.accept;
}
