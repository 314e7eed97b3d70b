import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Signal } from '@lumino/signaling';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { idOf } from '../src/commands';
import { Notifier } from '../src/notifications';
import type { IExecution } from '../src/restapi';
import type { IExecutionsModel } from '../src/tokens';
import { execution, json, MemoryStorage, serverWith } from './executions';

class Page {
  constructor(
    readonly records: IExecution[],
    readonly storage = new MemoryStorage()
  ) {
    const model = {
      ended: this.ended,
      inputRequested: this.inputRequested,
      get: (id: string) => this.records.find(record => record.id === id)
    };
    const commands = new CommandRegistry();
    for (const id of ['show-details', 'open-result', 'answer']) {
      commands.addCommand(`jupyter-exec-ext:${id}`, {
        execute: args => this.commands.push(`${id} ${idOf(args)}`)
      });
    }
    this.notifier = new Notifier({
      model: model as unknown as IExecutionsModel,
      commands,
      serverSettings: serverWith((_, url) => {
        const id = url.pathname.split('/').pop();
        const found = this.records.find(record => record.id === id);
        return found ? json(found) : json({ code: 'NotFound', message: 'gone', details: [] }, 404);
      }),
      storage: this.storage,
      trans: nullTranslator.load('')
    });
  }

  readonly ended = new Signal<unknown, IExecution>({});
  readonly inputRequested = new Signal<unknown, IExecution>({});
  readonly commands: string[] = [];
  readonly notifier: Notifier;
}

function shown(): string[] {
  return Notification.manager.notifications.map(({ message }) => message).reverse();
}

beforeEach(() => Notification.dismiss());
afterEach(() => vi.unstubAllGlobals());

describe('Notifier', () => {
  it('names the exception of a failure, and offers to show it', () => {
    const record = execution({
      state: 'failed',
      error: { code: 'CodeError', message: 'ZeroDivisionError: x', ename: 'ZeroDivisionError' }
    });
    const page = new Page([]);
    page.notifier.watch([record]);
    page.ended.emit(record);

    expect(shown()).toEqual(['a.ipynb failed: ZeroDivisionError']);
    const { actions } = Notification.manager.notifications[0].options;
    expect(actions?.map(({ label }) => label)).toEqual(['Show', 'Open result']);
    actions?.[0].callback(new MouseEvent('click'));
    expect(page.commands).toEqual([`show-details ${record.id}`]);
  });

  it('notifies once for a batch, and not for what another page started', () => {
    const [first, second, other] = [execution(), execution(), execution()];
    const page = new Page([]);
    page.notifier.watch([first, second]);

    page.ended.emit(first);
    page.ended.emit(other);
    expect(shown()).toEqual([]);
    page.ended.emit(second);

    expect(shown()).toEqual(['2 executions ended']);
  });

  it('notifies of what ended before it was watched', () => {
    const record = execution();
    new Page([record]).notifier.watch([{ ...record, state: 'pending' }]);

    expect(shown()).toEqual([expect.stringMatching('^a.ipynb succeeded')]);
  });

  it('notifies after a reload of what ended since', async () => {
    const [first, second, deleted] = [execution(), execution(), execution()];
    const before = new Page([]);
    before.notifier.watch([first, second]);
    before.notifier.watch([deleted]);

    const after = new Page([first, second], before.storage);
    await after.notifier.restore();
    expect(shown()).toEqual(['2 executions ended']);

    Notification.dismiss();
    await new Page([first, second], before.storage).notifier.restore();
    expect(shown()).toEqual([]);
  });

  it('offers to answer an input request', () => {
    const record = execution({
      state: 'running',
      input_request: { prompt: 'Name? ', password: false }
    });
    const page = new Page([]);
    page.notifier.watch([record]);
    page.inputRequested.emit(record);

    expect(shown()).toEqual(['a.ipynb waits for input']);
    Notification.manager.notifications[0].options.actions?.[0].callback(new MouseEvent('click'));
    expect(page.commands).toEqual([`answer ${record.id}`]);

    page.inputRequested.emit({ ...record, input_request: { prompt: '', password: true } });
    expect(shown()).toEqual(['a.ipynb waits for input']);
    page.ended.emit({ ...record, state: 'succeeded' });
    expect(shown()).not.toContain('a.ipynb waits for input');
  });

  it('uses the browser only for long runs of a hidden page, with permission', () => {
    const created: string[] = [];
    class BrowserNotification {
      static permission = 'granted';
      constructor(message: string) {
        created.push(message);
      }
    }
    vi.stubGlobal('Notification', BrowserNotification);
    const hidden = vi.spyOn(document, 'hidden', 'get');
    const page = new Page([]);
    const end = (seconds: number): void => {
      const record = execution({ duration_seconds: seconds });
      page.notifier.watch([record]);
      page.ended.emit(record);
    };

    hidden.mockReturnValue(true);
    end(100);
    page.notifier.settings = { notify: true, browserNotificationAfter: 30 };
    end(10);
    hidden.mockReturnValue(false);
    end(100);
    expect(created).toEqual([]);
    hidden.mockReturnValue(true);
    end(100);
    expect(created).toEqual(['a.ipynb succeeded after 1:40']);
    hidden.mockRestore();
  });

  it('asks for the permission of the browser only when the setting is on', () => {
    const requestPermission = vi.fn(() => Promise.resolve('granted'));
    vi.stubGlobal('Notification', { permission: 'default', requestPermission });
    const page = new Page([]);

    page.notifier.requestPermission();
    expect(requestPermission).not.toHaveBeenCalled();
    page.notifier.settings = { notify: true, browserNotificationAfter: 0 };
    page.notifier.requestPermission();
    expect(requestPermission).toHaveBeenCalledOnce();
  });
});
