"""The server extension: its configuration, and the object graph that it builds from it."""

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from jupyter_core.paths import jupyter_data_dir
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from traitlets import (
    Bool,
    Bunch,
    CaselessStrEnum,
    Enum,
    Float,
    Integer,
    List,
    TraitError,
    TraitType,
    Unicode,
    default,
    validate,
)

from jupyter_exec_ext.core.errors import ServerStoppedError
from jupyter_exec_ext.core.files import FilePolicy
from jupyter_exec_ext.core.limits import MAX_SECONDS, Limits
from jupyter_exec_ext.core.logs import LogLimit
from jupyter_exec_ext.core.paths import parts_of
from jupyter_exec_ext.engine.launching import ServerHost, outlast_uncut
from jupyter_exec_ext.routes import DIALECTS, handlers
from jupyter_exec_ext.services.announcer import Announcer
from jupyter_exec_ext.services.doors import Services
from jupyter_exec_ext.services.executions import ExecutionService
from jupyter_exec_ext.services.files import FileService
from jupyter_exec_ext.services.folders import Folders
from jupyter_exec_ext.services.following import Following
from jupyter_exec_ext.services.kernelspecs import Kernelspecs
from jupyter_exec_ext.services.launches import Launches
from jupyter_exec_ext.services.merging import MergedStreams
from jupyter_exec_ext.services.notebook_files import NotebookFiles
from jupyter_exec_ext.services.notebooks import Notebooks
from jupyter_exec_ext.services.openings import SessionOpener
from jupyter_exec_ext.services.runs import RunService
from jupyter_exec_ext.services.sessions import SessionService
from jupyter_exec_ext.services.supervisor import Supervisor, log_defect
from jupyter_exec_ext.services.turns import Turns
from jupyter_exec_ext.services.upkeep import Upkeep
from jupyter_exec_ext.store.leases import Instance
from jupyter_exec_ext.store.postgresql import take_parameters
from jupyter_exec_ext.store.signing import Signer, keys_in_file, new_key, split_keys
from jupyter_exec_ext.store.store import Store
from jupyter_exec_ext.web.urls import pattern_of_base

STOP_SECONDS = 5.0
"""How long the end of the extension may take; a server waits for it before it ends its kernels."""

UNCUT_SECONDS = 6.0
"""How much longer it may take where kernels are just being started, restarted or ended."""

SIGNING_KEY_VARIABLE = "JUPYTER_EXEC_SIGNING_KEY"

ACTIVITY_SETTING = "jupyter_exec_ext_last_activity"
"""The server, and so a hub's culler, takes each setting with this ending as activity."""


def _limit_traits() -> Iterator[tuple[str, TraitType[Any, Any]]]:
    """Yield a configurable trait for each limit."""
    for limit in fields(Limits):
        given: dict[str, Any] = {
            "default_value": limit.default,
            "min": limit.metadata["minimum"],
            "help": limit.metadata["help"],
        }
        is_count = isinstance(limit.default, int)
        trait = Integer(**given) if is_count else _Seconds(max=MAX_SECONDS, **given)
        yield limit.name, trait.tag(config=True)


class _Seconds(Float[float, float]):
    """A number of seconds with which can be reckoned."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return *value*; NaN is within all limits, and is no number of seconds."""
        value = super().validate(obj, value)
        if math.isnan(value):
            self.error(obj, value)
        return value


class ExecApp(ExtensionApp):
    """Runs code and notebooks as durable executions on this server."""

    name = "jupyter_exec_ext"
    load_other_extensions = True
    classes = [dialect.options for dialect in DIALECTS]  # noqa: RUF012 - as traitlets has it

    db_url = Unicode(
        help="Where records are kept, as an SQLAlchemy URL: sqlite:///PATH or postgresql://…"
        " Empty: an SQLite file in the Jupyter data directory."
    ).tag(config=True)
    sqlite_journal_mode = CaselessStrEnum(
        ["auto", "wal", "delete"],
        default_value="auto",
        help="SQLite's journal: 'auto' takes WAL where the file system allows it, which network"
        " file systems do not.",
    ).tag(config=True)
    server_id = Unicode(
        help="Whose records this server sees, among all in the database. Empty: it follows from"
        " the root folder and the base URL."
    ).tag(config=True)

    signing_key = Unicode(
        help="Secret with which this server signs the records that it may resume after a crash, so"
        " that other users of the database cannot make it run theirs; at least 32 characters."
        " Several, separated by blanks: the first signs, and signatures of all are accepted."
        " Default: the environment variable JUPYTER_EXEC_SIGNING_KEY. Empty: a key is kept in"
        " jupyter_exec_ext/signing.key in the Jupyter data directory."
    ).tag(config=True)

    dialects = List(
        Enum([dialect.name for dialect in DIALECTS]),
        [dialect.name for dialect in DIALECTS],
        help="Whose wire formats are served besides the native API.",
    ).tag(config=True)
    sessions_folder = Unicode(
        FilePolicy.sessions_folder,
        help="Path, relative to the server's root, of the folder in which each session gets a"
        " folder of its own.",
    ).tag(config=True)
    keep_files_when_deleted = Bool(
        FilePolicy.keep_when_deleted,
        help="Whether the folder that was made for a session stays when a client deletes that,"
        " where the session itself does not say.",
    ).tag(config=True)
    keep_files_when_ended = Bool(
        FilePolicy.keep_when_ended,
        help="The same when a session ends by itself: unused, or with the server.",
    ).tag(config=True)

    locals().update(_limit_traits())

    _is_built = False

    @default("signing_key")
    def _signing_key_of_environment(self) -> str:
        return os.environ.get(SIGNING_KEY_VARIABLE, "")

    @validate("signing_key")
    def _check_signing_key(self, proposal: Bunch) -> str:
        text: str = proposal.value
        if text.strip():
            try:
                split_keys(text)
            except ValueError as error:
                raise TraitError(f"ExecApp.signing_key: {error}") from None
        return text

    @property
    def limits(self) -> Limits:
        """The limits as configured."""
        return Limits(**{limit.name: getattr(self, limit.name) for limit in fields(Limits)})

    def initialize_settings(self) -> None:
        """Build the object graph; nothing runs yet, and no database is touched.

        Raises:
            RuntimeError: A setting is not as it can be, of which Jupyter only warns: what an
                operator ruled out must not be served with the defaults.
        """
        if not self._linked:
            raise RuntimeError("exec/ is not served: its settings are wrong, see the warning above")
        serverapp = self._server()
        limits = self.limits
        self.log_limit = LogLimit(self.log)
        self.log.addFilter(self.log_limit)
        self.announcer = Announcer(serverapp.event_logger, self.log)
        host = ServerHost(
            kernel_manager=serverapp.kernel_manager,
            session_manager=serverapp.session_manager,
            kernel_spec_manager=serverapp.kernel_spec_manager,
            log=self.log,
        )
        self.supervisor = Supervisor(self.log)
        signer = self._signer()
        # What the server's processes inherit, kernels first of all, must open neither.
        os.environ.pop(SIGNING_KEY_VARIABLE, None)
        parameters = take_parameters(self.db_url, os.environ)
        self.store = Store(
            self.db_url or _default_db_url(),
            Instance.of_this_process(self.server_id or _server_id(serverapp)),
            signer=signer,
            parameters=parameters,
            sqlite_journal_mode=self.sqlite_journal_mode,
            logger=self.log,
        )
        notebooks = Notebooks(serverapp.contents_manager)
        folders = Folders(
            contents_manager=serverapp.contents_manager,
            host=host,
            policy=FilePolicy(
                sessions_folder="/".join(parts_of(self.sessions_folder.strip("/"))),
                keep_when_deleted=self.keep_files_when_deleted,
                keep_when_ended=self.keep_files_when_ended,
            ),
            limits=limits,
        )
        kernelspecs = Kernelspecs(host)
        launches = Launches(host=host, notebooks=notebooks, folders=folders, limits=limits)
        runs = RunService(
            host=host,
            notebooks=notebooks,
            launches=launches,
            store=self.store,
            limits=limits,
            is_stopping=lambda: self.supervisor.is_stopping,
            log=self.log,
        )
        self.turns = Turns(
            runs=runs,
            store=self.store,
            supervisor=self.supervisor,
            limits=limits,
            on_activity=self.note_activity,
        )
        opener = SessionOpener(
            host=host,
            kernelspecs=kernelspecs,
            notebooks=notebooks,
            folders=folders,
            launches=launches,
            limits=limits,
        )
        self.sessions = SessionService(
            opener=opener,
            folders=folders,
            turns=self.turns,
            store=self.store,
            supervisor=self.supervisor,
            limits=limits,
            on_change=self.announcer.session,
            log=self.log,
        )
        self.executions = ExecutionService(
            kernelspecs=kernelspecs,
            notebooks=notebooks,
            sessions=self.sessions,
            turns=self.turns,
            store=self.store,
            supervisor=self.supervisor,
            limits=limits,
            on_state=self.announcer.execution,
        )
        self.files = FileService(
            sessions=self.sessions,
            folders=folders,
            supervisor=self.supervisor,
            limits=limits,
        )
        self.following = Following(
            store=self.store, live_of=self.executions.live_of, max_streams=limits.max_streams
        )
        self.services = Services(
            executions=self.executions,
            sessions=self.sessions,
            files=self.files,
            following=self.following,
            merged=MergedStreams(
                executions=self.executions,
                sessions=self.sessions,
                turns=self.turns,
                following=self.following,
                store=self.store,
            ),
            kernelspecs=kernelspecs,
            notebooks=notebooks,
            notebook_files=NotebookFiles(
                serverapp.contents_manager, notebooks, max_bytes=limits.max_notebook_bytes
            ),
            supervisor=self.supervisor,
            limits=limits,
        )
        self.upkeep = Upkeep(
            store=self.store,
            turns=self.turns,
            sessions=self.sessions,
            files=self.files,
            limits=limits,
            on_activity=self.note_activity,
            on_state=self.announcer.execution,
            on_round=self.log_limit.report,
            log=self.log,
        )
        self._is_built = True

    def initialize_handlers(self) -> None:
        """Add the routes.

        Jupyter would match the base URL letter by letter, and only in the server's own spelling.
        """
        dialects = {
            dialect: dialect.options(parent=self)
            for dialect in DIALECTS
            if dialect.name in self.dialects
        }
        web_app: Any = self._server().web_app
        base = pattern_of_base(web_app.settings["base_url"])
        web_app.add_handlers(
            ".*$",
            [(base + pattern, *rest) for pattern, *rest in handlers(self.services, dialects)],
        )

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:  # noqa: ARG002
        """Start background work; a real server calls this once its event loop runs."""
        if not self._is_built:
            return
        await self.supervisor.start()
        self.supervisor.spawn(self.upkeep.run)

    async def stop_extension(self) -> None:
        """Make all executions final and close the store: bounded, and without an exception.

        The server calls this before it ends its kernels, and an exception here would keep it from
        stopping.
        """
        if not self._is_built:
            return
        stopped = ServerStoppedError("the server was stopped")
        steps = (
            partial(self.files.close, timeout_seconds=0.5),
            partial(self.supervisor.close, timeout_seconds=STOP_SECONDS - 2),
            partial(self.turns.close, stopped, timeout_seconds=0.5),
            partial(self.sessions.close, stopped, timeout_seconds=0.5),
            partial(self.following.close, timeout_seconds=0.5),
            self.store.close,
            partial(outlast_uncut, seconds=UNCUT_SECONDS),
        )
        with anyio.move_on_after(STOP_SECONDS + UNCUT_SECONDS):
            for step in steps:
                try:
                    await step()
                except Exception as error:  # noqa: BLE001 - the rest has to stop too
                    log_defect(self.log, error)
        self.log_limit.close()

    def current_activity(self) -> dict[str, int] | None:
        """Return what keeps the server from shutting down for inactivity; ``None`` if nothing."""
        counts = {"executions": self.turns.active_count, "transfers": self.files.transfer_count}
        return {name: count for name, count in counts.items() if count} or None

    def note_activity(self) -> None:
        """Tell the server, and so a hub's culler, that it is in use."""
        self._server().web_app.settings[ACTIVITY_SETTING] = datetime.now(UTC)

    def _signer(self) -> Signer:
        if self.signing_key.strip():
            return Signer(split_keys(self.signing_key))
        path = _data_folder() / "signing.key"
        try:
            return Signer(keys_in_file(path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self.log.warning(
                "executions that wait when this server crashes are not resumed: the signing key"
                " in %s cannot be used (%s); correct or remove the file, or set"
                " ExecApp.signing_key",
                path,
                reason,
            )
            return Signer([new_key()])

    def _server(self) -> ServerApp:
        assert self.serverapp is not None
        return self.serverapp


def _data_folder() -> Path:
    return Path(jupyter_data_dir()) / "jupyter_exec_ext"


def _default_db_url() -> str:
    return f"sqlite:///{_data_folder() / 'executions.sqlite'}"


def _server_id(serverapp: ServerApp) -> str:
    """Return what stays the same each time this server starts, and differs from its neighbours'."""
    identity = f"{Path(serverapp.root_dir).resolve()}\n{serverapp.base_url}"
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
