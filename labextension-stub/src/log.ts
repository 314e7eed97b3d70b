/** The printed text of an execution. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

/** The longest log that is kept in the page, in characters; the server has all of it. */
const MAX_LOG_LENGTH = 2_000_000;

const ANSI = new RegExp('\u001b\\[[0-9;?]*[ -/]*[@-~]', 'g');

/** Return *text* without the sequences that colour it in a terminal. */
export function withoutColors(text: string): string {
  return text.replace(ANSI, '');
}

/** Printed text that follows its end, until the user scrolls up. */
export class LogWidget extends Widget {
  constructor(trans: TranslationBundle) {
    super({ node: document.createElement('pre') });
    this.addClass('jp-exec-Log');
    this.node.tabIndex = 0;
    this.node.setAttribute('role', 'log');
    // Read on request only: a log can be long and fast.
    this.node.setAttribute('aria-live', 'off');
    this.node.setAttribute('aria-label', trans.__('Printed text'));
  }

  /** Add text; many pieces that come at once are shown together. */
  append(text: string): void {
    this._waiting.push(withoutColors(text));
    if (this._frame === 0) {
      this._frame = requestAnimationFrame(() => this._show());
    }
  }

  override dispose(): void {
    cancelAnimationFrame(this._frame);
    super.dispose();
  }

  private _show(): void {
    const { node } = this;
    const isAtEnd = node.scrollHeight - node.scrollTop - node.clientHeight < 20;
    const text = this._waiting.join('');
    this._waiting = [];
    this._frame = 0;
    node.append(text);
    this._length += text.length;
    while (this._length > MAX_LOG_LENGTH && node.childNodes.length > 1) {
      this._length -= node.firstChild?.textContent?.length ?? 0;
      node.firstChild?.remove();
    }
    if (isAtEnd) {
      node.scrollTop = node.scrollHeight;
    }
  }

  private _waiting: string[] = [];
  private _frame = 0;
  private _length = 0;
}
