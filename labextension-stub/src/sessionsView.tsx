/** The list of sessions in the side bar. */
import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { KernelSpec, ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
    closeIcon,
    consoleIcon,
    fileUploadIcon,
    folderIcon,
    listIcon,
    refreshIcon,
    stopIcon
} from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';
import { ActionButton } from './buttons';
import { CommandIDs } from './commands';
import { formatSize, formatTime, messageOf } from './format';
import { fileUrl, listFiles, type IFile, type ISession, type SessionState } from './restapi';
import { missingRight, type IPermissions } from './rights';
import { consoleReason, folderReason } from './sessionCommands';
import { sessionName } from './sessions';
import type { ISessionsModel } from './tokens';
import { droppedFiles, uploadFiles } from './uploads';

export interface ISessionsViewOptions {
    readonly model: ISessionsModel;
    readonly commands: CommandRegistry;
    readonly kernelspecs: KernelSpec.IManager;
    readonly serverSettings: ServerConnection.ISettings;
    readonly trans: TranslationBundle;
}

/** A row for each session that has not ended. */
export class SessionsView extends ReactWidget {
    constructor(private readonly _options: ISessionsViewOptions) {
        super();
        this.addClass('jp-exec-Sessions');
    }

    protected override onAfterShow(): void {
        this._options.model.isWatched = true;
    }

    protected override onBeforeHide(): void {
        this._options.model.isWatched = false;
    }

    protected override onBeforeDetach(): void {
        this._options.model.isWatched = false;
    }

    protected override render(): React.ReactElement {
        return (
            <UseSignal signal={this._options.model.changed}>
                {() => <SessionList {...this._options} />}
            </UseSignal>
        );
    }
}

function SessionList(props: ISessionsViewOptions): React.ReactElement {
    const { model, trans } = props;
    const { sessions, permissions } = model;
    const reason = missingRight(permissions, 'canReadSessions', trans);
    const owners = new Set(sessions.map(({ owner }) => owner));
    return (
        <>
            {model.problem && (
                <p className="jp-exec-Panel-problem" role="alert">
                    {trans.__('The list is not up to date: %1', model.problem)}
                </p>
            )}
            {sessions.length === 0 && !model.problem && (
                <p className="jp-exec-Panel-empty">
                    {reason ??
                        trans.__(
                            'No sessions. A session keeps its kernel, variables and files between executions.'
                        )}
                </p>
            )}
            <ul className="jp-exec-Panel-list" aria-label={trans.__('Sessions')}>
                {sessions.map(session => (
                    <SessionRow
                        key={session.id}
                        {...props}
                        session={session}
                        permissions={permissions}
                        showsOwner={owners.size > 1}
                    />
                ))}
            </ul>
            {model.hasMore && (
                <p className="jp-exec-Panel-empty">
                    {trans.__('Only the newest %1 sessions are shown.', sessions.length)}
                </p>
            )}
        </>
    );
}

interface IRowProps extends ISessionsViewOptions {
    readonly session: ISession;
    readonly permissions: IPermissions;
    readonly showsOwner: boolean;
}

function SessionRow(props: IRowProps): React.ReactElement {
    const { session, model, commands, kernelspecs, serverSettings, permissions, trans } = props;
    const { id, path } = session;
    const [isOver, setIsOver] = React.useState(false);
    const [isOpen, setIsOpen] = React.useState(false);
    const [uploads, countUpload] = React.useReducer((count: number) => count + 1, 0);
    const picker = React.useRef<HTMLInputElement>(null);
    const name = sessionName(session);
    const run = (command: string): void => void commands.execute(command, { id });
    const noFolder = path === undefined ? trans.__('The session has no folder') : null;
    const uploadReason = noFolder ?? missingRight(permissions, 'canWriteFiles', trans);
    const upload = async (files: readonly File[]): Promise<void> => {
        await uploadFiles(serverSettings, session, files, trans);
        countUpload();
    };
    const facts = [
        kernelspecs.specs?.kernelspecs[session.kernel_name]?.display_name ?? session.kernel_name,
        session.is_attached ? trans.__('kernel of a notebook') : '',
        props.showsOwner ? session.owner : '',
        trans.__('last used %1', formatTime(session.last_activity_time)),
        session.pending_count
            ? trans._n('%1 waits', '%1 wait', session.pending_count)
            : trans.__('nothing waits')
    ];
    return (
        <li
            className="jp-exec-Session"
            data-state={session.state}
            data-over={isOver || undefined}
            onDragOver={event => {
                if (event.dataTransfer.types.includes('Files')) {
                    event.preventDefault();
                    event.dataTransfer.dropEffect = uploadReason === null ? 'copy' : 'none';
                    setIsOver(uploadReason === null);
                }
            }}
            onDragLeave={() => setIsOver(false)}
            onDrop={event => {
                event.preventDefault();
                setIsOver(false);
                if (uploadReason === null) {
                    const { files } = droppedFiles(event.dataTransfer);
                    void upload(files);
                }
            }}
        >
            <div className="jp-exec-Session-head">
                <span className="jp-exec-Row-name">{name}</span>
                <span className="jp-exec-Row-state">{sessionStateLabel(session.state, trans)}</span>
            </div>
            <div className="jp-exec-Row-timing">{facts.filter(Boolean).join(' · ')}</div>
            {session.kernel_error && (
                <div className="jp-exec-Panel-problem">{session.kernel_error.message}</div>
            )}
            {path !== undefined && (
                <button
                    type="button"
                    className="jp-exec-Link jp-exec-Session-folder"
                    title={
                        folderReason(session, commands, trans) ??
                        trans.__('Show the folder in the file browser')
                    }
                    disabled={folderReason(session, commands, trans) !== null}
                    onClick={() => run(CommandIDs.openFolder)}
                >
                    <folderIcon.react tag="span" />
                    {path || '/'}
                </button>
            )}
            <div className="jp-exec-Session-actions">
                <ActionButton
                    label={trans.__('Attach a console to %1', name)}
                    icon={consoleIcon}
                    reason={consoleReason(session, commands, trans)}
                    onClick={() => run(CommandIDs.attachConsole)}
                />
                <ActionButton
                    label={trans.__('Files of %1', name)}
                    icon={listIcon}
                    isExpanded={isOpen}
                    reason={noFolder ?? missingRight(permissions, 'canReadFiles', trans)}
                    onClick={() => setIsOpen(!isOpen)}
                />
                <ActionButton
                    label={trans.__('Upload files to %1', name)}
                    title={trans.__('Upload files; or drop them here')}
                    icon={fileUploadIcon}
                    reason={uploadReason}
                    onClick={() => picker.current?.click()}
                />
                <ActionButton
                    label={trans.__('Interrupt %1', name)}
                    icon={stopIcon}
                    reason={missingRight(permissions, 'canExecuteSessions', trans)}
                    onClick={() => run(CommandIDs.interruptSession)}
                />
                <ActionButton
                    label={trans.__('Restart the kernel of %1', name)}
                    icon={refreshIcon}
                    reason={missingRight(permissions, 'canExecuteSessions', trans)}
                    onClick={() => run(CommandIDs.restartSession)}
                />
                <ActionButton
                    label={trans.__('End %1', name)}
                    icon={closeIcon}
                    reason={missingRight(permissions, 'canWriteSessions', trans)}
                    onClick={() => run(CommandIDs.endSession)}
                />
                <input
                    ref={picker}
                    type="file"
                    multiple
                    hidden
                    aria-label={trans.__('Files to upload to %1', name)}
                    onChange={event => {
                        void upload([...(event.target.files ?? [])]);
                        event.target.value = '';
                    }}
                />
            </div>
            {isOpen && <FileList key={uploads} {...props} model={model} />}
        </li>
    );
}

function FileList(props: IRowProps): React.ReactElement {
    const { session, serverSettings, trans } = props;
    const [files, setFiles] = React.useState<readonly IFile[]>([]);
    const [token, setToken] = React.useState<string | undefined>();
    const [problem, setProblem] = React.useState('');
    const [isLoaded, setIsLoaded] = React.useState(false);
    const { id, last_activity_time: lastActivity } = session;
    const load = React.useCallback(
        async (pageToken?: string): Promise<void> => {
            try {
                const page = await listFiles(serverSettings, id, { pageToken });
                setFiles(known => (pageToken ? [...known, ...page.files] : page.files));
                setToken(page.next_page_token);
                setProblem('');
            } catch (reason) {
                setProblem(messageOf(reason));
            }
            setIsLoaded(true);
        },
        [serverSettings, id]
    );
    // After each execution the session may have other files.
    React.useEffect(() => void load(), [load, lastActivity]);
    const shown = files.filter(({ type }) => type === 'file');
    return (
        <div className="jp-exec-Session-files" aria-busy={!isLoaded}>
            {problem && <p role="alert">{problem}</p>}
            {isLoaded && !problem && shown.length === 0 && <p>{trans.__('No files.')}</p>}
            <ul aria-label={trans.__('Files of %1', sessionName(session))}>
                {shown.map(({ path, name, size_bytes: size }) => (
                    <li key={path}>
                        <a
                            href={fileUrl(serverSettings, session.id, path)}
                            download={name}
                            title={trans.__('Download %1', path)}
                        >
                            {path}
                        </a>
                        <span className="jp-exec-Row-timing">
                            {size === undefined ? '' : formatSize(size)}
                        </span>
                    </li>
                ))}
            </ul>
            {token && (
                <ActionButton label={trans.__('Show more')} onClick={() => void load(token)} />
            )}
        </div>
    );
}

/** Return the name of what a session does. */
export function sessionStateLabel(state: SessionState, trans: TranslationBundle): string {
    switch (state) {
        case 'starting':
            return trans.__('Starting');
        case 'idle':
            return trans.__('Idle');
        case 'busy':
            return trans.__('Busy');
        case 'ended':
            return trans.__('Ended');
    }
}
