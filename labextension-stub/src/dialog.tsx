/** The dialog that asks how to run a notebook in the background. */
import { Dialog, ReactWidget, showDialog } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import type { KernelSpec } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import { addIcon, closeIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import { isSecretName, isValidName, type IInput, type IRunOptions, type SaveTo } from './inputs';

/** Return where a copy of the executed notebook is written: next to the notebook. */
export function copyPath(path: string): string {
    const extension = PathExt.extname(path);
    return `${path.slice(0, path.length - extension.length)}-executed${extension}`;
}

export interface IRunDialogOptions {
    /** The paths of the notebooks; the options apply to each of them. */
    readonly paths: readonly string[];
    readonly initial: IRunOptions;
    readonly kernelspecs: KernelSpec.ISpecModels | null;
    /** What is run, for people; `null` for whole notebooks. */
    readonly cellsText: string | null;
    readonly trans: TranslationBundle;
}

/** Show the dialog; resolve with the chosen options, or with `null` when it was cancelled. */
export async function showRunDialog(options: IRunDialogOptions): Promise<IRunOptions | null> {
    const { trans, paths } = options;
    const body = new RunForm(options);
    const name = PathExt.basename(paths[0]);
    const result = await showDialog<IRunOptions>({
        title:
            paths.length === 1
                ? trans.__('Run %1 in Background', name)
                : trans.__('Run %1 Notebooks in Background', paths.length),
        body,
        buttons: [
            Dialog.cancelButton({ label: trans.__('Cancel') }),
            Dialog.okButton({ label: trans.__('Run') })
        ],
        focusNodeSelector: '.jp-exec-RunForm-value, input'
    });
    return result.button.accept ? result.value : null;
}

class RunForm extends ReactWidget implements Dialog.IBodyWidget<IRunOptions> {
    constructor(private readonly _options: IRunDialogOptions) {
        super();
        this._value = _options.initial;
        this.addClass('jp-exec-RunForm');
    }

    getValue(): IRunOptions {
        const inputs = this._value.inputs.filter(input => input.name !== '' && input.value !== '');
        return { ...this._value, inputs };
    }

    protected override render(): React.ReactElement {
        return <RunFormView {...this._options} onChange={value => (this._value = value)} />;
    }

    private _value: IRunOptions;
}

function RunFormView(
    props: IRunDialogOptions & { readonly onChange: (value: IRunOptions) => void }
): React.ReactElement {
    const { trans, paths, kernelspecs } = props;
    const [value, setValue] = React.useState(props.initial);
    const change = (changes: Partial<IRunOptions>): void => {
        const next = { ...value, ...changes };
        setValue(next);
        props.onChange(next);
    };
    const saveOptions: readonly (readonly [SaveTo, string])[] = [
        ['record', trans.__('Only with the record of the execution')],
        [
            'copy',
            paths.length === 1
                ? trans.__('In a copy: %1', copyPath(paths[0]))
                : trans.__('In a copy next to each notebook')
        ],
        ['in_place', trans.__('In the notebook itself')]
    ];
    return (
        <div>
            {props.cellsText && <p>{props.cellsText}</p>}
            <InputRows
                inputs={value.inputs}
                onChange={inputs => change({ inputs })}
                trans={trans}
            />
            <label>
                {trans.__('Variables to gather')}
                <input
                    className="jp-mod-styled"
                    type="text"
                    defaultValue={value.variableNames.join(', ')}
                    placeholder={trans.__('names, separated by commas')}
                    onChange={event => change({ variableNames: namesIn(event.target.value) })}
                />
            </label>
            <label>
                {trans.__('Kernel')}
                <select
                    className="jp-mod-styled"
                    value={value.kernelName}
                    onChange={event => change({ kernelName: event.target.value })}
                >
                    <option value="">{trans.__("The notebook's own")}</option>
                    {Object.entries(kernelspecs?.kernelspecs ?? {}).map(([name, spec]) => (
                        <option key={name} value={name}>
                            {spec?.display_name ?? name}
                        </option>
                    ))}
                </select>
            </label>
            <label>
                {trans.__('Time limit in seconds')}
                <input
                    className="jp-mod-styled"
                    type="number"
                    min="1"
                    defaultValue={value.timeoutSeconds ?? ''}
                    placeholder={trans.__("the server's limit")}
                    onChange={event => change({ timeoutSeconds: secondsIn(event.target.value) })}
                />
            </label>
            <fieldset>
                <legend>{trans.__('Save the executed notebook')}</legend>
                {saveOptions.map(([saveTo, label]) => (
                    <label key={saveTo} className="jp-exec-RunForm-choice">
                        <input
                            type="radio"
                            name="save-to"
                            checked={value.saveTo === saveTo}
                            onChange={() => change({ saveTo })}
                        />
                        {label}
                    </label>
                ))}
            </fieldset>
            <p className="jp-exec-RunForm-note">
                {trans.__(
                    'The notebook runs on the server. You can close this page: the execution continues, and its result is kept.'
                )}
            </p>
        </div>
    );
}

function InputRows(props: {
    readonly inputs: readonly IInput[];
    readonly onChange: (inputs: readonly IInput[]) => void;
    readonly trans: TranslationBundle;
}): React.ReactElement {
    const { inputs, onChange, trans } = props;
    const replace = (index: number, changes: Partial<IInput>): void =>
        onChange(inputs.map((input, at) => (at === index ? { ...input, ...changes } : input)));
    return (
        <fieldset>
            <legend>{trans.__('Inputs (environment variables of the kernel)')}</legend>
            {inputs.map((input, index) => (
                <div key={index} className="jp-exec-RunForm-input">
                    <input
                        className="jp-mod-styled"
                        type="text"
                        aria-label={trans.__('Name of input %1', index + 1)}
                        aria-invalid={input.name !== '' && !isValidName(input.name)}
                        placeholder={trans.__('NAME')}
                        value={input.name}
                        onChange={event =>
                            replace(index, {
                                name: event.target.value,
                                isSecret: input.isSecret || isSecretName(event.target.value)
                            })
                        }
                    />
                    <input
                        className="jp-mod-styled"
                        type={input.isSecret ? 'password' : 'text'}
                        autoComplete="off"
                        aria-label={trans.__(
                            'Value of %1',
                            input.name || trans.__('input %1', index + 1)
                        )}
                        placeholder={trans.__('value')}
                        value={input.value}
                        onChange={event => replace(index, { value: event.target.value })}
                    />
                    <label className="jp-exec-RunForm-secret">
                        <input
                            type="checkbox"
                            checked={input.isSecret}
                            onChange={event => replace(index, { isSecret: event.target.checked })}
                        />
                        {trans.__('secret')}
                    </label>
                    <button
                        type="button"
                        className="jp-exec-IconButton"
                        aria-label={trans.__(
                            'Remove %1',
                            input.name || trans.__('input %1', index + 1)
                        )}
                        onClick={() => onChange(inputs.filter((_, at) => at !== index))}
                    >
                        <closeIcon.react tag="span" />
                    </button>
                </div>
            ))}
            <button
                type="button"
                className="jp-exec-RunForm-add"
                onClick={() => onChange([...inputs, { name: '', value: '', isSecret: false }])}
            >
                <addIcon.react tag="span" /> {trans.__('Add an input')}
            </button>
        </fieldset>
    );
}

function namesIn(text: string): string[] {
    return text.split(/[\s,]+/).filter(name => name !== '');
}

function secondsIn(text: string): number | null {
    const seconds = Number(text);
    return text !== '' && seconds > 0 ? seconds : null;
}
