"""Checks a request by itself, before anything is looked up for it."""

from jupyter_exec_ext.core.errors import InvalidArgumentError, TooLargeError
from jupyter_exec_ext.core.limits import MAX_SECONDS, Limits
from jupyter_exec_ext.core.models import CodeSource, CommandSource, NewExecution, OnBusy
from jupyter_exec_ext.core.sessions import NewSession, SessionSettings

MAX_ORIGIN_LENGTH = 1_024
"""In characters, of the path of a notebook and of the id of a cell that code comes from."""

MAX_NAME_LENGTH = 256
"""In characters, of a session, a variable and an idempotency key."""


def check_request(new: NewExecution, limits: Limits) -> None:
    """Raise `InvalidArgumentError`, naming the field, when *new* breaks one of the *limits*."""
    for name, seconds in (
        ("timeout_seconds", new.timeout_seconds),
        ("cell_timeout_seconds", new.cell_timeout_seconds),
    ):
        if seconds is not None and not 0 < seconds <= limits.max_execution_seconds:
            raise InvalidArgumentError(
                f"a time limit is above 0 and at most {limits.max_execution_seconds:g} s",
                target=name,
            )
    _check_source(new, limits)
    _check_session_choice(new)
    if new.after is not None and new.on_busy is not OnBusy.QUEUE:
        raise InvalidArgumentError("after requires on_busy to be queue", target="on_busy")
    _check_key(new.idempotency_key)
    _check_variable_names(new.variable_names, limits)
    if new.stdin is not None and len(new.stdin) > limits.max_stdin_answers:
        raise InvalidArgumentError(
            f"at most {limits.max_stdin_answers} answers, or lines of input, are taken; pass more"
            " as a file",
            target="stdin",
        )
    _check_words(new.labels, new.description, limits)
    _check_annotations(new.annotations, limits)
    _check_origin(new)


def check_session(new: NewSession, limits: Limits) -> None:
    """Raise `InvalidArgumentError`, naming the field, when *new* breaks one of the *limits*."""
    _check_session_name(new.name, target="name")
    _check_idle_timeout(new.idle_timeout_seconds)
    _check_words(new.labels, new.description, limits)
    _check_annotations(new.annotations, limits)


def check_session_settings(settings: SessionSettings, limits: Limits) -> None:
    """Raise `InvalidArgumentError`, naming the field, when *settings* break a limit."""
    _check_session_name(settings.name, target="name")
    _check_idle_timeout(settings.idle_timeout_seconds)
    _check_words(settings.labels or {}, settings.description or "", limits)


def _check_source(new: NewExecution, limits: Limits) -> None:
    source = new.source
    if isinstance(source, CommandSource):
        _check_command(new, source, limits)
    if not isinstance(source, CodeSource):
        return
    check_code(source.code, limits)
    if new.cell_timeout_seconds is not None:
        raise InvalidArgumentError(
            "code has no cells; timeout_seconds limits it", target="cell_timeout_seconds"
        )


def _check_origin(new: NewExecution) -> None:
    if new.origin is None:
        return
    if not isinstance(new.source, CodeSource):
        raise InvalidArgumentError("origin requires code", target="origin")
    for name, text in (("path", new.origin.path), ("cell_id", new.origin.cell_id)):
        if text is not None and not 0 < len(text) <= MAX_ORIGIN_LENGTH:
            raise InvalidArgumentError(
                f"{name} must have 1 to {MAX_ORIGIN_LENGTH} characters", target=f"origin.{name}"
            )


def check_code(code: str, limits: Limits) -> None:
    """Raise `InvalidArgumentError` for *code* that no kernel can be sent."""
    # What is not Unicode text (a lone surrogate) could be neither stored nor sent.
    try:
        size = len(code.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("the code is not Unicode text", target="code") from error
    if size > limits.max_code_bytes:
        raise TooLargeError(f"code has at most {limits.max_code_bytes} bytes", target="code")


def _check_command(new: NewExecution, source: CommandSource, limits: Limits) -> None:
    if not source.steps:
        raise InvalidArgumentError("a command has at least one step", target="command")
    size = 0
    for step, command in source.steps.items():
        target = f"command.{step}"
        words = [command] if isinstance(command, str) else command
        if not words or not words[0].strip():
            raise InvalidArgumentError("the command is empty", target=target)
        if any("\0" in word for word in words):
            raise InvalidArgumentError("the command has a NUL character", target=target)
        try:
            size += sum(len(word.encode()) for word in words)
        except UnicodeEncodeError as error:
            raise InvalidArgumentError("the command is not Unicode text", target=target) from error
    if size > limits.max_code_bytes:
        raise TooLargeError(
            f"a command has at most {limits.max_code_bytes} bytes in all", target="command"
        )
    if new.cell_timeout_seconds is not None:
        raise InvalidArgumentError(
            "a command has no cells; timeout_seconds limits it", target="cell_timeout_seconds"
        )
    if new.on_busy is OnBusy.SUBSHELL:
        raise InvalidArgumentError("a command runs in no subshell", target="on_busy")


def _check_session_choice(new: NewExecution) -> None:
    if new.session_id is not None and new.session_name is not None:
        raise InvalidArgumentError(
            "a session is chosen by its id or by its name", target="session_name"
        )
    _check_session_name(new.session_name, target="session_name")
    if new.session_path is not None and new.session_name is None:
        raise InvalidArgumentError("session_path requires session_name", target="session_path")
    if new.session_id is None and new.session_name is None and new.on_busy is not OnBusy.QUEUE:
        raise InvalidArgumentError(
            "an execution with a session of its own meets no busy one", target="on_busy"
        )
    is_alone = new.session_id is None and new.session_name is None
    if new.fresh_kernel and (is_alone or new.on_busy is not OnBusy.QUEUE):
        raise InvalidArgumentError(
            "a fresh kernel is for an execution that names a session, and meets no busy one",
            target="fresh_kernel",
        )
    if new.on_busy is OnBusy.SUBSHELL and new.inputs:
        raise InvalidArgumentError(
            "a subshell has the environment of all that runs in the kernel", target="inputs"
        )


def _check_session_name(name: str | None, *, target: str) -> None:
    if name is not None and not (0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()):
        raise InvalidArgumentError(
            f"a name has 1 to {MAX_NAME_LENGTH} printable characters", target=target
        )


def _check_idle_timeout(seconds: float | None) -> None:
    if seconds is not None and not 0 <= seconds <= MAX_SECONDS:
        raise InvalidArgumentError(
            f"a time-out is 0, for never, or above, and at most {MAX_SECONDS} s",
            target="idle_timeout_seconds",
        )


def _check_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= MAX_NAME_LENGTH and key.isprintable()):
        raise InvalidArgumentError(
            f"a key has 1 to {MAX_NAME_LENGTH} printable characters", target="Idempotency-Key"
        )


def is_variable_name(name: str) -> bool:
    """Whether a variable that is called so can be gathered."""
    return 0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()


def _check_variable_names(names: list[str], limits: Limits) -> None:
    if len(names) > limits.max_variables:
        raise InvalidArgumentError(
            f"at most {limits.max_variables} variables are gathered", target="variable_names"
        )
    for name in names:
        if not is_variable_name(name):
            raise InvalidArgumentError(
                f"a name has 1 to {MAX_NAME_LENGTH} printable characters",
                target="variable_names",
            )
    if len(set(names)) < len(names):
        raise InvalidArgumentError("a name stands there twice", target="variable_names")


def _check_words(labels: dict[str, str], description: str, limits: Limits) -> None:
    if len(labels) > limits.max_labels:
        raise InvalidArgumentError(f"at most {limits.max_labels} labels", target="labels")
    for name, value in labels.items():
        is_short = len(name) <= limits.max_label_length >= len(value)
        if not (is_short and name and name.isprintable() and value.isprintable()):
            raise InvalidArgumentError(
                f"names and values have at most {limits.max_label_length} printable"
                " characters, and a name is not empty",
                target="labels",
            )
    if len(description) > limits.max_description_length:
        raise InvalidArgumentError(
            f"at most {limits.max_description_length} characters", target="description"
        )


def _check_annotations(annotations: dict[str, str], limits: Limits) -> None:
    try:
        size = sum(len(name.encode()) + len(text.encode()) for name, text in annotations.items())
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("this is not Unicode text", target="annotations") from error
    if size > limits.max_annotation_bytes:
        raise InvalidArgumentError(
            f"they have at most {limits.max_annotation_bytes} bytes together", target="annotations"
        )
