import { nullTranslator } from '@jupyterlab/translation';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LogWidget, withoutColors } from '../src/log';

/** jsdom computes no layout: the log is 100 px high, and each character takes 10 px more. */
class Log extends LogWidget {
  constructor() {
    super(nullTranslator.load(''));
    Object.defineProperty(this.node, 'clientHeight', { get: () => 100 });
    Object.defineProperty(this.node, 'scrollHeight', {
      get: () => 100 + 10 * (this.node.textContent?.length ?? 0)
    });
  }

  async print(text: string): Promise<void> {
    this.append(text);
    await new Promise(resolve => requestAnimationFrame(resolve));
  }
}

describe('LogWidget', () => {
  let log: Log;
  beforeEach(() => (log = new Log()));
  afterEach(() => log.dispose());

  it('follows its end', async () => {
    await log.print('first\n');
    await log.print('second\n');
    expect(log.node.scrollTop).toBe(log.node.scrollHeight);
  });

  it('stays where the user scrolls up, and follows again from the end', async () => {
    await log.print('first\nsecond\n');
    log.node.scrollTop = 10;
    await log.print('third\n');
    expect(log.node.scrollTop).toBe(10);

    log.node.scrollTop = log.node.scrollHeight - 100;
    await log.print('fourth\n');
    expect(log.node.scrollTop).toBe(log.node.scrollHeight);
  });

  it('shows many pieces at once', async () => {
    log.append('a');
    log.append('b');
    expect(log.node.textContent).toBe('');
    await log.print('c');
    expect(log.node.childNodes).toHaveLength(1);
    expect(log.node.textContent).toBe('abc');
  });
});

describe('withoutColors', () => {
  it('removes the sequences of terminals', () => {
    expect(withoutColors('\u001b[0;31mred\u001b[0m text')).toBe('red text');
  });
});
