"""Python: IPython kernels, through one user expression that is evaluated in a scope of its own.

Such an expression publishes nothing, binds no name, and calls none that the user could shadow:
it finds the builtins through the frame of a generator. Kernels that evaluate no user expressions
get the same expression as code, and print what it returns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_exec_ext.engine.languages.exchange import (
    READING_MIME,
    Language,
    Reply,
    Request,
    base64_json,
    entries_of,
    error_of,
    marked_bytes,
    value_of_entries,
)
from jupyter_exec_ext.engine.languages.guarding import (
    BOOT,
    NO_POSIX,
    OPTIONS,
    Guarding,
    failing_lines,
)
from jupyter_exec_ext.engine.languages.python_command import COMMAND
from jupyter_exec_ext.engine.languages.python_reader import READER, READER_NAME

_KEY = "jupyter_exec_ext"

_SCOPE = "{'__builtins__': b, '__name__': 'jupyter_exec_ext'}"

_BUILTINS = "(i for i in ()).gi_frame.f_builtins"

_ONCE = f"(lambda b, s, d: (lambda n: (b['exec'](s, n), n['main'](d))[1])({_SCOPE}))({_BUILTINS}, "

# Compiled only where it is not there yet. Always sending it costs about 0.2 ms, and saves knowing
# whether it still is.
_READ = (
    "(lambda b, k, s, d: (lambda m: m.get(k)"
    f" or (lambda n: (b['exec'](s, n), m.setdefault(k, n['main']))[1])({_SCOPE}))"
    f"(b['__import__']('sys').__dict__)(d))({_BUILTINS}, {READER_NAME!r}, {READER!r}, "
)

_PRINT = (
    "(lambda b, m, r: b['print']('\\n' + m, b['__import__']('base64')"
    f".b64encode(r.text.encode()).decode(), flush=True))({_BUILTINS}, "
)

_SET = """
import base64, json, os, sys

def main(data):
    variables = json.loads(base64.b64decode(data))
    previous = sys.__dict__.setdefault('_jupyter_exec_ext_environment', {})
    for name in variables:
        previous.setdefault(name, os.environ.get(name))
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
"""

_RESTORE = """
import os, sys

def main(data):
    previous = sys.__dict__.pop('_jupyter_exec_ext_environment', {})
    for name, value in previous.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
"""

MAX_GATHERED_CHARACTERS = 250_000
"""How much printed text a kernel gathers before it sends a message."""

# ipykernel gathers what is printed in 0.2 s into one message, which can be 200 MB, and ZeroMQ
# receives each message whole. IPython replaces `write` while a cell runs, and puts this one back.
_LIMIT_GATHERING = """
import base64, json, sys

def limit_gathering(stream, limit):
    write, flush = stream.write, stream.flush
    gathered = 0

    def limited_write(string):
        nonlocal gathered
        if isinstance(string, str) and len(string) > limit:
            for start in range(0, len(string), limit):
                limited_write(string[start:start + limit])
            return len(string)
        count = write(string)
        gathered += len(string)
        if gathered >= limit:
            gathered = 0
            flush()
        return count

    stream.write = limited_write

def main(data):
    for stream in (sys.stdout, sys.stderr):
        if type(stream).__module__ == 'ipykernel.iostream':
            limit_gathering(stream, json.loads(base64.b64decode(data)))
"""

_RAISE = """
import asyncio, base64, ctypes, json, signal, sys, threading, time

set_exception = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ('PyThreadState_SetAsyncExc', ctypes.pythonapi))

def runs_user_code(thread, shell):
    frame = sys._current_frames().get(thread.ident)
    while frame and frame.f_code is not type(shell).run_code.__code__:
        frame = frame.f_back
    return frame is not None

def raise_in(thread, shell):
    if runs_user_code(thread, shell):
        set_exception(thread.ident, id(KeyboardInterrupt))
        if not runs_user_code(thread, shell):
            # It ended in between, and anywhere else the exception could end the thread itself.
            set_exception(thread.ident, None)
        return True
    return False

def shell_of_kernel():
    ipython = sys.modules.get('IPython')
    return ipython.get_ipython() if ipython else None
"""

_INTERRUPT_SUBSHELL = (
    _RAISE
    + """
def interrupt(thread, shell):
    if raise_in(thread, shell):
        return True
    # The event loop of the subshell has the word while its code awaits something.
    loop = thread.io_loop.asyncio_loop
    waiting = [task for task in asyncio.all_tasks(loop)
               if getattr(task.get_coro(), 'cr_code', None) is type(shell).run_cell_async.__code__]
    for task in waiting:
        loop.call_soon_threadsafe(task.cancel)
    return bool(waiting)

def main(data):
    name = 'subshell-' + json.loads(base64.b64decode(data))
    shell = shell_of_kernel()
    for thread in threading.enumerate():
        if thread.name == name:
            for attempt in range(50):
                # Between two statements no code of the user runs. Also, this thread is sure to
                # run on for a moment after it slept, so what it sees stays true meanwhile.
                time.sleep(0.001)
                if interrupt(thread, shell):
                    break
"""
)

_INTERRUPT_BLOCKED = (
    _RAISE
    + """
def main(data):
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN):
        return  # The signal alone interrupts the cell, or none runs.
    thread = threading.main_thread()
    if raise_in(thread, shell_of_kernel()):
        # A blocking call returns to Python, and raises, only for a signal.
        signal.pthread_kill(thread.ident, signal.SIGINT)
"""
)


class Python(Language):
    """IPython kernels and others with ``user_expressions`` and its display formatter."""

    name = "python"
    aliases = ("ipython", "python3")
    end_of_input = "\x04"
    exit_exception = "SystemExit"
    guarding = Guarding(own_python=True)
    implementations = ("ipython",)
    programs = ("ipykernel_launcher", "ipykernel")

    def variants(self) -> tuple[Language, ...]:
        """Return this one, and one for kernels that evaluate no user expressions."""
        return (self, PlainPython())

    def prepare_kernel(self) -> Request | None:
        """Limit how much printed text ipykernel gathers into one message."""
        return _request(_LIMIT_GATHERING, MAX_GATHERED_CHARACTERS)

    def environment_error(self, reply: Reply) -> str | None:
        """Return why setting or restoring failed, without any value; ``None`` when it worked."""
        expressions = reply.content.get("user_expressions")
        result = expressions.get(_KEY) if isinstance(expressions, Mapping) else None
        return error_of(reply.content) or error_of(result)

    def value_expressions(self, *, max_bytes: int) -> dict[str, str]:
        """Return the one expression that reads what IPython's display hook showed last."""
        return _reader(None, max_bytes)

    def value_of(self, reply: Reply, *, max_bytes: int) -> str | None:
        """Return what that expression found."""
        return value_of_entries(lambda: self._entries(reply, "", ()), max_bytes)

    def interrupt_subshell(self, subshell_id: str) -> Request | None:
        """Raise ``KeyboardInterrupt`` in the thread of that subshell, where it runs user code."""
        return _request(_INTERRUPT_SUBSHELL, subshell_id)

    def interrupt_blocked(self) -> Request | None:
        """Raise ``KeyboardInterrupt`` in the main thread, in a cell that awaits somewhere.

        While such a cell runs, ipykernel's handler of SIGINT only schedules its cancellation,
        which code that blocks the event loop never reaches.
        """
        return _request(_INTERRUPT_BLOCKED, None)

    def run_command(self, blob: str, *, marker: str) -> Request:
        """Start the guard with the kernel's own Python, which relays its lines."""
        failure = failing_lines(marker, NO_POSIX)
        return _request(COMMAND, [blob, BOOT, OPTIONS, READING_MIME, failure])

    def command_text(self, reply: Reply) -> str:
        """Return the guard's last line, which a lossy IOPub may have dropped."""
        try:
            return str(reply.content["user_expressions"][_KEY]["data"][READING_MIME])
        except (KeyError, TypeError):
            return ""

    def _setting(self, variables: Mapping[str, bytes | None]) -> Request:
        texts = {
            name: None if raw is None else raw.decode(errors="surrogateescape")
            for name, raw in variables.items()
        }
        return _request(_SET, texts)

    def _restoring(self) -> Request:
        return _request(_RESTORE, None)

    def _reading(self, names: tuple[str, ...], max_bytes: int, _marker: str) -> Request:
        return Request(code="", user_expressions=_reader(names, max_bytes))

    def _entries(self, reply: Reply, _marker: str, _names: tuple[str, ...]) -> Sequence[Any]:
        return entries_of(reply.content["user_expressions"][_KEY]["data"][READING_MIME])


class PlainPython(Python):
    """Kernels that run Python without IPython, as xeus-python does with ``--raw``."""

    def variants(self) -> tuple[Language, ...]:
        """Return this one alone."""
        return (self,)

    def prepare_kernel(self) -> Request | None:
        """Return ``None``: these kernels gather nothing."""
        return None

    def environment_error(self, reply: Reply) -> str | None:
        """Return why setting or restoring failed, without any value; ``None`` when it worked."""
        return error_of(reply.content)

    def value_expressions(self, *, max_bytes: int) -> dict[str, str]:
        """Return nothing: these kernels evaluate no user expressions."""
        del max_bytes
        return {}

    def value_of(self, reply: Reply, *, max_bytes: int) -> str | None:
        """Return ``None``."""
        del reply, max_bytes
        return None

    def interrupt_subshell(self, subshell_id: str) -> Request | None:
        """Return ``None``: these kernels have no subshells."""
        del subshell_id
        return None

    def run_command(self, blob: str, *, marker: str) -> Request:
        """Start the guard with the kernel's own Python, which prints its lines."""
        return _as_code(super().run_command(blob, marker=marker))

    def command_text(self, reply: Reply) -> str:
        """Return nothing: all lines are printed."""
        del reply
        return ""

    def _setting(self, variables: Mapping[str, bytes | None]) -> Request:
        return _as_code(super()._setting(variables))

    def _restoring(self) -> Request:
        return _as_code(super()._restoring())

    def _reading(self, names: tuple[str, ...], max_bytes: int, marker: str) -> Request:
        reading = _reader(names, max_bytes)[_KEY]
        return Request(code=f"{_PRINT}{marker!r}, {reading})", silent=False)

    def _entries(self, reply: Reply, marker: str, _names: tuple[str, ...]) -> Sequence[Any]:
        return entries_of(marked_bytes(reply, marker))


def _as_code(request: Request) -> Request:
    """Return a request that evaluates the user expression of *request* and displays nothing."""
    return Request(code=f"({request.user_expressions[_KEY]}, None)[1]", silent=False)


def _reader(names: tuple[str, ...] | None, max_bytes: int) -> dict[str, str]:
    return {_KEY: f"{_READ}{base64_json([names, max_bytes])!r})"}


def _request(source: str, data: object) -> Request:
    expression = f"{_ONCE}{source!r}, {base64_json(data)!r})"
    return Request(code="", user_expressions={_KEY: expression})
