/** Brings notebooks that are open up to date when an execution has written into their files. */
import { Notification } from '@jupyterlab/apputils';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Contents } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import { messageOf } from './format';
import type { IExecution } from './restapi';
import type { IExecutionsModel } from './tokens';

/**
 * Load open notebooks again after an execution saved them in place.
 *
 * One with unsaved edits, or whose own kernel runs a cell, is left alone: then the user decides.
 * A notebook that several people edit together belongs to their shared document.
 */
export function reloadSavedNotebooks(
  model: IExecutionsModel,
  tracker: INotebookTracker,
  contents: Contents.IManager,
  trans: TranslationBundle
): void {
  model.ended.connect((_, { source, state }: IExecution) => {
    if (source.save_to !== 'in_place' || state === 'cancelled') {
      return;
    }
    tracker.forEach(panel => {
      const { context } = panel;
      const isIt =
        contents.driveName(context.path) === '' && contents.localPath(context.path) === source.path;
      if (isIt && !context.model.collaborative) {
        void update(panel, trans);
      }
    });
  });
}

async function update(panel: NotebookPanel, trans: TranslationBundle): Promise<void> {
  const { context } = panel;
  const name = context.localPath.split('/').pop();
  const revert = async (): Promise<void> => {
    try {
      await context.revert();
    } catch (reason) {
      Notification.error(messageOf(reason), { autoClose: false });
    }
  };
  const isBusy = panel.sessionContext.session?.kernel?.status === 'busy';
  if (!context.model.dirty && !isBusy) {
    await revert();
    return;
  }
  Notification.warning(
    trans.__('The execution wrote its results into %1, which has other changes here.', name),
    {
      autoClose: false,
      actions: [{ label: trans.__('Reload and lose the changes'), callback: () => void revert() }]
    }
  );
}
