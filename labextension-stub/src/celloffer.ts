/** A line below a cell that offers the result of code that the cell no longer has. */
import type { CodeCell } from '@jupyterlab/cells';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget, type PanelLayout } from '@lumino/widgets';

export interface ICellOfferOptions {
  readonly cell: CodeCell;
  readonly isRunning: boolean;
  readonly trans: TranslationBundle;
  /** Called when the user accepts the result for the cell. */
  readonly show: () => void;
}

export class CellOffer extends Widget {
  constructor(private readonly _options: ICellOfferOptions) {
    super();
    const { isRunning, trans } = _options;
    this.addClass('jp-exec-CellOffer');
    this.node.setAttribute('role', 'status');
    const text = document.createElement('span');
    text.textContent = isRunning
      ? trans.__('This cell was edited after it was started. The earlier code still runs.')
      : trans.__('This cell was edited after it was started. The earlier code has ended.');
    this.node.append(
      text,
      this._button(trans.__('Show result'), _options.show),
      this._button(trans.__('Dismiss'), () => undefined)
    );
  }

  /** Show the offer at the end of its cell. */
  attach(): void {
    (this._options.cell.layout as PanelLayout).addWidget(this);
  }

  private _button(label: string, action: () => void): HTMLButtonElement {
    const button = document.createElement('button');
    button.className = 'jp-Button jp-mod-styled jp-mod-minimal';
    button.type = 'button';
    button.textContent = label;
    button.addEventListener('click', () => {
      this.dispose();
      action();
    });
    return button;
  }
}
