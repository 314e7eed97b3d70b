/** The list of executions in the side bar. */
import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { refreshIcon, stopIcon, deleteIcon } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';
import { CommandIDs } from './commands';
import { formatTiming, stateLabel } from './format';
import { nameOf } from './model';
import { ACTIVE_STATES, FINAL_STATES, STATES, type IExecution, type State } from './restapi';
import type { IExecutionsModel } from './tokens';

const PANEL_CLASS = 'jp-exec-Panel';

/** The side-bar panel: a filter, and a row for each execution. */
export class ExecutionsPanel extends ReactWidget {
    constructor(
        private readonly _model: IExecutionsModel,
        private readonly _commands: CommandRegistry,
        private readonly _trans: TranslationBundle
    ) {
        super();
        this.addClass(PANEL_CLASS);
    }

    protected override render(): React.ReactElement {
        return (
            <UseSignal signal={this._model.changed}>
                {() => (
                    <PanelView model={this._model} commands={this._commands} trans={this._trans} />
                )}
            </UseSignal>
        );
    }
}

interface IViewProps {
    readonly model: IExecutionsModel;
    readonly commands: CommandRegistry;
    readonly trans: TranslationBundle;
}

function PanelView(props: IViewProps): React.ReactElement {
    const { model, commands, trans } = props;
    const { filter, executions, permissions } = model;
    const owners = new Set(executions.map(execution => execution.owner));
    useClock(model.activeCount > 0);
    return (
        <>
            <div className="jp-exec-Panel-header">
                <input
                    type="search"
                    className="jp-mod-styled"
                    aria-label={trans.__('Filter by text')}
                    placeholder={trans.__('Filter by name, notebook or owner')}
                    value={filter.text}
                    onChange={event => (model.filter = { ...filter, text: event.target.value })}
                />
                <div className="jp-exec-Panel-tools">
                    <select
                        className="jp-mod-styled"
                        aria-label={trans.__('Filter by state')}
                        value={filter.states.length === 1 ? filter.states[0] : ''}
                        onChange={event => {
                            const state = event.target.value as State | '';
                            model.filter = { ...filter, states: state ? [state] : [] };
                        }}
                    >
                        <option value="">{trans.__('All states')}</option>
                        {STATES.map(state => (
                            <option key={state} value={state}>
                                {stateLabel(state, trans)}
                            </option>
                        ))}
                    </select>
                    <button
                        type="button"
                        className="jp-exec-IconButton"
                        title={trans.__('Refresh')}
                        onClick={() => void model.refresh().catch(() => undefined)}
                    >
                        <refreshIcon.react tag="span" />
                    </button>
                    <button
                        type="button"
                        className="jp-exec-Button"
                        disabled={!permissions.canDelete}
                        title={
                            permissions.canDelete
                                ? trans.__('Delete the finished executions that match the filter')
                                : trans.__('You do not have the right to delete executions')
                        }
                        onClick={() => void commands.execute(CommandIDs.clearFinished)}
                    >
                        {trans.__('Clear finished')}
                    </button>
                </div>
                {filter.path && (
                    <button
                        type="button"
                        className="jp-exec-Panel-path"
                        title={trans.__('Show the executions of all notebooks')}
                        onClick={() => (model.filter = { ...filter, path: '' })}
                    >
                        {filter.path} ✕
                    </button>
                )}
            </div>
            {model.problem && (
                <p className="jp-exec-Panel-problem" role="alert">
                    {trans.__('The list is not up to date: %1', model.problem)}
                </p>
            )}
            {executions.length === 0 && !model.problem && (
                <p className="jp-exec-Panel-empty">
                    {filter.text || filter.states.length || filter.path
                        ? trans.__('No execution matches the filter.')
                        : trans.__('No executions yet. Choose “Run in Background” in a notebook.')}
                </p>
            )}
            <ul className="jp-exec-Panel-list" aria-label={trans.__('Executions')}>
                {executions.map(execution => (
                    <Row
                        key={execution.id}
                        execution={execution}
                        showsOwner={owners.size > 1}
                        {...props}
                    />
                ))}
            </ul>
            {model.hasMore && (
                <button
                    type="button"
                    className="jp-exec-Button jp-exec-Panel-more"
                    onClick={() => void model.loadMore().catch(() => undefined)}
                >
                    {trans.__('Show more')}
                </button>
            )}
        </>
    );
}

function Row(
    props: IViewProps & { readonly execution: IExecution; readonly showsOwner: boolean }
): React.ReactElement {
    const { execution, commands, trans, model } = props;
    const { id, state, progress } = execution;
    const name = nameOf(execution);
    const run = (command: string): void => void commands.execute(command, { id });
    return (
        <li className="jp-exec-Row" data-state={state}>
            <button
                type="button"
                className="jp-exec-Row-main"
                title={execution.source.path ?? name}
                onClick={() => run(CommandIDs.showDetails)}
            >
                <span className="jp-exec-Row-name">{name}</span>
                <span className="jp-exec-Row-state">
                    {execution.input_request
                        ? trans.__('Waiting for input')
                        : stateLabel(state, trans)}
                </span>
                <span className="jp-exec-Row-timing">
                    {props.showsOwner && `${execution.owner} · `}
                    {formatTiming(execution)}
                </span>
            </button>
            {ACTIVE_STATES.includes(state) && progress && progress.total > 0 && (
                <progress
                    max={progress.total}
                    value={progress.done}
                    aria-label={trans.__(
                        '%1 of %2 cells of %3',
                        progress.done,
                        progress.total,
                        name
                    )}
                />
            )}
            <span className="jp-exec-Row-actions">
                {FINAL_STATES.includes(state) ? (
                    <button
                        type="button"
                        className="jp-exec-IconButton"
                        aria-label={trans.__('Delete %1', name)}
                        title={trans.__('Delete')}
                        disabled={!model.permissions.canDelete}
                        onClick={() => run(CommandIDs.remove)}
                    >
                        <deleteIcon.react tag="span" />
                    </button>
                ) : (
                    <button
                        type="button"
                        className="jp-exec-IconButton"
                        aria-label={trans.__('Cancel %1', name)}
                        title={trans.__('Cancel')}
                        disabled={state === 'cancelling' || !model.permissions.canExecute}
                        onClick={() => run(CommandIDs.cancel)}
                    >
                        <stopIcon.react tag="span" />
                    </button>
                )}
            </span>
        </li>
    );
}

/** Render again each second while *isRunning*, so that elapsed times are right. */
function useClock(isRunning: boolean): void {
    const [, tick] = React.useReducer((count: number) => count + 1, 0);
    React.useEffect(() => {
        if (!isRunning) {
            return;
        }
        const timer = setInterval(tick, 1000);
        return () => clearInterval(timer);
    }, [isRunning]);
}
