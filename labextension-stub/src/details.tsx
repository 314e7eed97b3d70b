/** The details of one execution, in the main area. */
import { MainAreaWidget, ReactWidget, UseSignal } from '@jupyterlab/apputils';
import { SimplifiedOutputArea } from '@jupyterlab/outputarea';
import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { Message } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import { Panel, Widget } from '@lumino/widgets';
import * as React from 'react';
import { ActionButton } from './buttons';
import { CommandIDs } from './commands';
import { ExecutionFollower, type ICellOutputs } from './follower';
import { formatTime, formatTiming, messageOf, stateLabel } from './format';
import { executionIcon } from './icons';
import { LogWidget, withoutColors } from './log';
import { nameOf } from './model';
import {
    answerInput,
    FINAL_STATES,
    getExecution,
    type IExecution,
    type IInputRequest,
    type IVariable
} from './restapi';
import { cancelReason } from './panel';
import { missingRight } from './rights';
import type { IExecutionsModel } from './tokens';

export interface IDetailsOptions {
    readonly execution: IExecution;
    readonly model: IExecutionsModel;
    readonly commands: CommandRegistry;
    readonly rendermime: IRenderMimeRegistry;
    readonly serverSettings: ServerConnection.ISettings;
    /** The user's name: only the outputs of the user's own executions are trusted. */
    readonly username: string;
    readonly trans: TranslationBundle;
}

/** Return a widget that shows an execution and follows it. */
export function createDetails(options: IDetailsOptions): MainAreaWidget<ExecutionDetails> {
    const widget = new MainAreaWidget({ content: new ExecutionDetails(options) });
    widget.id = `jp-exec-details-${options.execution.id}`;
    widget.title.label = nameOf(options.execution);
    widget.title.caption = options.trans.__('Execution of %1', nameOf(options.execution));
    widget.title.icon = executionIcon;
    widget.title.closable = true;
    widget.toolbar.hide();
    return widget;
}

export class ExecutionDetails extends Panel {
    constructor(private readonly _options: IDetailsOptions) {
        super();
        const { execution, serverSettings, username, trans } = _options;
        this.addClass('jp-exec-Details');
        this.node.tabIndex = 0;
        this.node.setAttribute('role', 'region');
        this.node.setAttribute('aria-label', trans.__('Execution of %1', nameOf(execution)));
        this._execution = execution;
        this._follower = new ExecutionFollower(
            serverSettings,
            execution.id,
            execution.owner === username
        );
        this._log = new LogWidget(trans);
        this._cells = new Panel();
        this._cells.addClass('jp-exec-Details-cells');
        this.addWidget(ReactWidget.create(this._header()));
        this.addWidget(section(trans.__('Cell outputs'), this._cells));
        this.addWidget(section(trans.__('Log'), this._log));

        this._follower.printed.connect((_, text) => this._log.append(text));
        this._follower.cellAdded.connect((_, cell) => this._addCell(cell));
        this._follower.reported.connect((_, { type }) => {
            if (type === 'gap') {
                this._log.append(trans.__('[output was left out here]') + '\n');
            }
            void this._load();
        });
        this._follower.isCutOff.connect((_, isCutOff) => {
            this._isCutOff = isCutOff;
            this._changed.emit();
        });
        _options.model.changed.connect(this._onModelChanged, this);
        void this._load();
        this._follower.hide();
        void this._follower.follow().then(() => this._load());
    }

    /** The id of the execution. */
    get executionId(): string {
        return this._execution.id;
    }

    override dispose(): void {
        if (!this.isDisposed) {
            this._options.model.changed.disconnect(this._onModelChanged, this);
            this._follower.dispose();
            Signal.clearData(this);
            super.dispose();
        }
    }

    protected override onAfterAttach(message: Message): void {
        super.onAfterAttach(message);
        this._followWhileVisible();
    }

    protected override onAfterShow(message: Message): void {
        super.onAfterShow(message);
        this._followWhileVisible();
    }

    protected override onBeforeHide(message: Message): void {
        super.onBeforeHide(message);
        this._follower.hide();
    }

    protected override onActivateRequest(message: Message): void {
        super.onActivateRequest(message);
        this.node.focus();
        this._followWhileVisible();
    }

    /** The connection for streams is for what the user sees. */
    private _followWhileVisible(): void {
        if (this.isVisible) {
            this._follower.show();
        }
    }

    /** Load the record; one load at a time, and another one when something was reported since. */
    private async _load(): Promise<void> {
        if (this._isLoading) {
            this._mustReload = true;
            return;
        }
        this._isLoading = true;
        do {
            this._mustReload = false;
            try {
                // The outputs of a running execution come by its events, so only the end needs them.
                const isFinal = FINAL_STATES.includes(this._execution.state);
                const loaded = await getExecution(
                    this._options.serverSettings,
                    this._execution.id,
                    {
                        full: isFinal
                    }
                );
                this._mustReload ||= !isFinal && FINAL_STATES.includes(loaded.state);
                this._execution = loaded;
                this._problem = null;
                this._options.model.update(loaded);
            } catch (reason) {
                this._problem = messageOf(reason);
            }
            if (this.isDisposed) {
                return;
            }
            this._changed.emit();
        } while (this._mustReload);
        this._isLoading = false;
    }

    private _onModelChanged(): void {
        const known = this._options.model.get(this._execution.id);
        if (known && known !== this._execution && !this._execution.result) {
            this._execution = known;
            this._changed.emit();
        }
    }

    private _addCell(cell: ICellOutputs): void {
        const { rendermime, trans } = this._options;
        const panel = new Panel();
        panel.addClass('jp-exec-Details-cell');
        if (this._execution.type === 'notebook') {
            const label = new Widget();
            label.addClass('jp-exec-Details-cellLabel');
            label.node.textContent = trans.__('Cell %1', cell.cellIndex + 1);
            panel.addWidget(label);
        }
        panel.addWidget(
            new SimplifiedOutputArea({ model: cell.model, rendermime: rendermime.clone() })
        );
        const place = this._follower.cells.filter(other => other.cellIndex < cell.cellIndex).length;
        this._cells.insertWidget(place, panel);
    }

    private _header(): React.ReactElement {
        return (
            <UseSignal signal={this._changed}>
                {() => (
                    <HeaderView
                        {...this._options}
                        execution={this._execution}
                        problem={this._problem}
                        isCutOff={this._isCutOff}
                    />
                )}
            </UseSignal>
        );
    }

    private readonly _changed = new Signal<this, void>(this);
    private readonly _follower: ExecutionFollower;
    private readonly _cells: Panel;
    private readonly _log: LogWidget;
    private _execution: IExecution;
    private _problem: string | null = null;
    private _isCutOff = false;
    private _isLoading = false;
    private _mustReload = false;
}

function HeaderView(
    props: IDetailsOptions & { readonly problem: string | null; readonly isCutOff: boolean }
): React.ReactElement {
    const { execution, commands, model, trans } = props;
    const { id, source, progress, error, result, input_request: request } = execution;
    const isFinal = FINAL_STATES.includes(execution.state);
    const { permissions } = model;
    const button = (
        command: string,
        label: string,
        reason: string | null = null
    ): React.ReactElement => (
        <ActionButton
            label={label}
            reason={reason}
            onClick={() => void commands.execute(command, { id })}
        />
    );
    const mayNotExecute = missingRight(permissions, 'canExecute', trans);
    const mayNotDelete = missingRight(permissions, 'canDelete', trans);
    return (
        <div className="jp-exec-Details-header">
            <h2>{nameOf(execution)}</h2>
            <p className="jp-exec-Details-state" data-state={execution.state} role="status">
                {stateLabel(execution.state, trans)} · {formatTiming(execution)}
                {progress &&
                    progress.total > 0 &&
                    ` · ${trans.__('%1 of %2 cells', progress.done, progress.total)}`}
            </p>
            {!isFinal && progress && progress.total > 0 && (
                <progress
                    max={progress.total}
                    value={progress.done}
                    aria-label={trans.__('%1 of %2 cells', progress.done, progress.total)}
                />
            )}
            {props.isCutOff && (
                <p role="alert">{trans.__('The server cannot be reached. Trying again …')}</p>
            )}
            {props.problem && !props.isCutOff && <p role="alert">{props.problem}</p>}
            <div className="jp-exec-Details-actions">
                {!isFinal &&
                    button(
                        CommandIDs.cancel,
                        trans.__('Cancel'),
                        cancelReason(execution, permissions, trans)
                    )}
                {isFinal &&
                    source.path &&
                    button(CommandIDs.runAgain, trans.__('Run again'), mayNotExecute)}
                {source.path && button(CommandIDs.openNotebook, trans.__('Open notebook'))}
                {result?.notebook_path &&
                    button(CommandIDs.openResult, trans.__('Open executed notebook'))}
                {execution.type === 'notebook' &&
                    button(CommandIDs.download, trans.__('Download executed notebook'))}
                {isFinal && button(CommandIDs.remove, trans.__('Delete'), mayNotDelete)}
            </div>
            {request && (
                <InputForm {...props} request={request} key={request.event_id ?? request.prompt} />
            )}
            {error && (
                <section className="jp-exec-Details-error" aria-label={trans.__('Error')}>
                    <strong>{error.message}</strong>
                    {error.cell_index !== undefined && source.path && (
                        <button
                            type="button"
                            className="jp-exec-Link"
                            onClick={() =>
                                void commands.execute(CommandIDs.openNotebook, {
                                    id,
                                    atError: true
                                })
                            }
                        >
                            {trans.__('Show cell %1', error.cell_index + 1)}
                        </button>
                    )}
                    {error.traceback && <pre>{withoutColors(error.traceback.join('\n'))}</pre>}
                </section>
            )}
            {(result?.save_error ?? result?.save_conflict) && (
                <p role="alert">
                    {result?.save_error ??
                        trans.__(
                            'The notebook was changed during the run. The result is in %1.',
                            result?.save_conflict
                        )}
                </p>
            )}
            <dl className="jp-exec-Details-facts">
                {source.path && <Fact name={trans.__('Notebook')} value={source.path} />}
                <Fact name={trans.__('Kernel')} value={execution.kernel_name} />
                <Fact name={trans.__('Owner')} value={execution.owner} />
                <Fact name={trans.__('Created')} value={formatTime(execution.created_time)} />
                {execution.input_names.length > 0 && (
                    <Fact name={trans.__('Inputs')} value={execution.input_names.join(', ')} />
                )}
            </dl>
            {result && Object.keys(result.variables).length > 0 && (
                <VariablesTable variables={result.variables} trans={trans} />
            )}
        </div>
    );
}

function Fact(props: { readonly name: string; readonly value: string }): React.ReactElement {
    return (
        <div>
            <dt>{props.name}</dt>
            <dd>{props.value}</dd>
        </div>
    );
}

function VariablesTable(props: {
    readonly variables: { readonly [name: string]: IVariable };
    readonly trans: TranslationBundle;
}): React.ReactElement {
    const { trans } = props;
    return (
        <table className="jp-exec-Details-variables">
            <caption>{trans.__('Variables')}</caption>
            <thead>
                <tr>
                    <th scope="col">{trans.__('Name')}</th>
                    <th scope="col">{trans.__('Type')}</th>
                    <th scope="col">{trans.__('Value')}</th>
                </tr>
            </thead>
            <tbody>
                {Object.entries(props.variables).map(([name, variable]) => (
                    <tr key={name}>
                        <th scope="row">{name}</th>
                        <td>{variable.type ?? ''}</td>
                        <td>
                            <pre>{valueText(variable)}</pre>
                        </td>
                    </tr>
                ))}
            </tbody>
        </table>
    );
}

function valueText(variable: IVariable): string {
    if (variable.json !== undefined) {
        return JSON.stringify(variable.json);
    }
    const text = variable.data?.['text/plain'];
    return typeof text === 'string' ? text : (variable.error ?? '');
}

function InputForm(
    props: IDetailsOptions & { readonly request: IInputRequest }
): React.ReactElement {
    const { execution, request, serverSettings, model, trans } = props;
    const [value, setValue] = React.useState('');
    const [problem, setProblem] = React.useState('');
    const reason = missingRight(model.permissions, 'canExecute', trans);
    const send = async (event: React.FormEvent): Promise<void> => {
        event.preventDefault();
        try {
            await answerInput(serverSettings, execution.id, value);
            setValue('');
            setProblem('');
        } catch (reason) {
            setProblem(messageOf(reason));
        }
    };
    return (
        <form className="jp-exec-Details-input" onSubmit={event => void send(event)}>
            <label>
                {request.prompt || trans.__('The code requests input')}
                <input
                    className="jp-mod-styled"
                    type={request.password ? 'password' : 'text'}
                    autoComplete="off"
                    value={value}
                    disabled={reason !== null}
                    title={reason ?? undefined}
                    onChange={event => setValue(event.target.value)}
                />
            </label>
            <button
                type="submit"
                className="jp-exec-Button"
                disabled={reason !== null}
                title={reason ?? undefined}
            >
                {trans.__('Send')}
            </button>
            {problem && <span role="alert">{problem}</span>}
        </form>
    );
}

function section(title: string, content: Widget): Widget {
    const panel = new Panel();
    panel.addClass('jp-exec-Details-section');
    const heading = new Widget({ node: document.createElement('h3') });
    heading.node.textContent = title;
    panel.addWidget(heading);
    panel.addWidget(content);
    return panel;
}
