/** The list of executions in the side bar. */
import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { refreshIcon, stopIcon, deleteIcon } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';
import { ActionButton } from './buttons';
import { CommandIDs } from './commands';
import { formatTiming, stateLabel } from './format';
import { nameOf } from './model';
import { ACTIVE_STATES, FINAL_STATES, STATES, type IExecution, type State } from './restapi';
import { missingRight, type IPermissions } from './rights';
import type { IExecutionsModel } from './tokens';

const PANEL_CLASS = 'jp-exec-Panel';

interface IViewProps {
    readonly model: IExecutionsModel;
    readonly commands: CommandRegistry;
    /** The paths of the notebooks that are open, which the filter offers. */
    readonly openPaths: () => readonly string[];
    readonly trans: TranslationBundle;
}

/** The list of executions: a filter, and a row for each. */
export class ExecutionsPanel extends ReactWidget {
    constructor(private readonly _props: IViewProps) {
        super();
        this.addClass(PANEL_CLASS);
    }

    protected override render(): React.ReactElement {
        return (
            <UseSignal signal={this._props.model.changed}>
                {() => <PanelView {...this._props} />}
            </UseSignal>
        );
    }
}

function PanelView(props: IViewProps): React.ReactElement {
    const { model, commands, trans } = props;
    const { filter, executions, permissions } = model;
    const owners = new Set(executions.map(execution => execution.owner));
    const now = useClock(model.activeCount > 0);
    const today = new Date(now).setHours(0, 0, 0, 0);
    const mayNotRead = model.problem ? null : missingRight(permissions, 'canRead', trans);
    const paths = new Set([...props.openPaths(), ...model.paths, filter.path].filter(Boolean));
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
                    <ActionButton
                        label={trans.__('Refresh')}
                        icon={refreshIcon}
                        onClick={() => void model.refresh().catch(() => undefined)}
                    />
                    <ActionButton
                        label={trans.__('Clear finished')}
                        title={trans.__('Delete the finished executions that match the filter')}
                        reason={missingRight(permissions, 'canDelete', trans)}
                        onClick={() => void commands.execute(CommandIDs.clearFinished)}
                    />
                </div>
                <select
                    className="jp-mod-styled"
                    aria-label={trans.__('Filter by notebook')}
                    value={filter.path}
                    onChange={event => (model.filter = { ...filter, path: event.target.value })}
                >
                    <option value="">{trans.__('All notebooks')}</option>
                    {[...paths].sort().map(path => (
                        <option key={path} value={path}>
                            {path}
                        </option>
                    ))}
                </select>
            </div>
            {model.problem && (
                <p className="jp-exec-Panel-problem" role="alert">
                    {trans.__('The list is not up to date: %1', model.problem)}
                </p>
            )}
            {executions.length === 0 && !model.problem && !model.isLoadingMore && (
                <p className="jp-exec-Panel-empty">
                    {mayNotRead
                        ? mayNotRead
                        : filter.text || filter.states.length || filter.path
                          ? trans.__('No execution matches the filter.')
                          : trans.__(
                                'No executions yet. Choose “Run in Background” in a notebook.'
                            )}
                </p>
            )}
            <ul className="jp-exec-Panel-list" aria-label={trans.__('Executions')}>
                {executions.map(execution => (
                    <Row
                        key={execution.id}
                        execution={execution}
                        showsOwner={owners.size > 1}
                        now={FINAL_STATES.includes(execution.state) ? today : now}
                        permissions={permissions}
                        commands={commands}
                        trans={trans}
                    />
                ))}
            </ul>
            <p className="jp-exec-Panel-status" role="status">
                {model.isLoadingMore && trans.__('Loading older executions …')}
            </p>
            {model.hasMore && !model.isLoadingMore && (
                <div className="jp-exec-Panel-more">
                    <ActionButton
                        label={trans.__('Show more')}
                        onClick={() => void model.loadMore().catch(() => undefined)}
                    />
                </div>
            )}
        </>
    );
}

interface IRowProps {
    readonly execution: IExecution;
    readonly showsOwner: boolean;
    /** The time to reckon with; for executions that have ended, any time of the day. */
    readonly now: number;
    readonly permissions: IPermissions;
    readonly commands: CommandRegistry;
    readonly trans: TranslationBundle;
}

/** One execution; rendered again only when its record changes, or its elapsed time. */
const Row = React.memo(function Row(props: IRowProps): React.ReactElement {
    const { execution, commands, permissions, trans } = props;
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
                    {formatTiming(execution, props.now)}
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
                    <ActionButton
                        label={trans.__('Delete %1', name)}
                        icon={deleteIcon}
                        reason={missingRight(permissions, 'canDelete', trans)}
                        onClick={() => run(CommandIDs.remove)}
                    />
                ) : (
                    <ActionButton
                        label={trans.__('Cancel %1', name)}
                        icon={stopIcon}
                        reason={cancelReason(execution, permissions, trans)}
                        onClick={() => run(CommandIDs.cancel)}
                    />
                )}
            </span>
        </li>
    );
});

/** Return why an active execution cannot be cancelled; `null` when it can. */
export function cancelReason(
    execution: IExecution,
    permissions: IPermissions,
    trans: TranslationBundle
): string | null {
    return (
        missingRight(permissions, 'canExecute', trans) ??
        (execution.state === 'cancelling' ? trans.__('It is being cancelled') : null)
    );
}

/** Return the time in ms, each second another one while *isRunning*. */
function useClock(isRunning: boolean): number {
    const [, tick] = React.useReducer((count: number) => count + 1, 0);
    React.useEffect(() => {
        if (!isRunning) {
            return;
        }
        const timer = setInterval(tick, 1000);
        return () => clearInterval(timer);
    }, [isRunning]);
    return Date.now();
}
