"""The connection to a kernel, on real ones."""

import asyncio
import gc
import logging
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import zmq
from jupyter_client.ioloop.manager import AsyncIOLoopKernelManager
from jupyter_client.session import DELIM

from jupyter_exec_ext.core.logs import MAX_LINES, LogLimit
from jupyter_exec_ext.engine.channels import Channel, Message, RequestChannel, ZmqChannels
from jupyter_exec_ext.engine.messages import LARGE_BYTES
from jupyter_exec_ext.engine.numbering import MAX_MISSING

WAIT_SECONDS = 60
FLOOD_ROUNDS = 2_500


class Conversation:
    """A kernel and our connection to it; keeps what came back on each request."""

    def __init__(self, manager: AsyncIOLoopKernelManager) -> None:
        self.manager = manager
        self.lifecycle: list[Message] = []
        self.channels = ZmqChannels(
            manager, on_lifecycle=self.lifecycle.append, log=logging.getLogger("channels")
        )
        self.received: dict[str, list[tuple[Channel, Message]]] = {}

    def send(
        self,
        msg_type: str,
        content: dict[str, Any],
        channel: RequestChannel = "shell",
        *,
        subshell_id: str | None = None,
        max_text_bytes: int | None = None,
    ) -> str:
        msg_id = self.channels.send(msg_type, content, channel=channel, subshell_id=subshell_id)
        received = self.received[msg_id] = []
        self.channels.subscribe(
            msg_id,
            lambda channel, message: received.append((channel, message)),
            max_text_bytes=max_text_bytes,
        )
        return msg_id

    def execute(self, code: str, **kwargs: Any) -> str:
        return self.send("execute_request", {"code": code, "allow_stdin": True}, **kwargs)

    async def message(self, msg_id: str, channel: Channel, msg_type: str) -> Any:
        """Wait for the first message of this type that answers *msg_id*."""
        return await until(
            lambda: next(
                (
                    message
                    for came_on, message in self.received[msg_id]
                    if came_on == channel and message["msg_type"] == msg_type
                ),
                None,
            )
        )

    async def reply(self, msg_id: str) -> dict[str, Any]:
        """Wait for the reply and until all output is here."""
        message = await self.message(msg_id, "shell", "execute_reply")
        content: dict[str, Any] = message["content"]
        await until(lambda: "idle" in self.states(msg_id))
        return content

    def states(self, msg_id: str) -> list[str]:
        return [
            message["content"]["execution_state"]
            for _, message in self.received[msg_id]
            if message["msg_type"] == "status"
        ]

    def texts(self, msg_id: str) -> list[str]:
        return [
            message["content"]["text"]
            for _, message in self.received[msg_id]
            if message["msg_type"] == "stream"
        ]


COMPLETE_OUTPUT = {
    "updates of a display": """\
handle = display('0', display_id=True)
for number in range(100):
    handle.update(str(number))
    display(number, clear=True)
""",
    "widgets": """\
import ipywidgets
slider = ipywidgets.IntSlider()
for number in range(50):
    slider.value = number
with ipywidgets.Output():
    print('in a widget')
slider
""",
    "errors": "print('before')\n1 / 0",
    "inputs": f"for _ in range({2 * MAX_MISSING}): input()",
    "results without data": f"""\
class Shown:
    def _ipython_display_(self):
        display('shown')
for _ in range({2 * MAX_MISSING}):
    get_ipython().displayhook(Shown())
""",
    "captured output": "%%capture\nfor number in range(50): print(number); display(number)",
    "forks": """\
import multiprocessing
def work(number):
    print(number, flush=True)
fork = multiprocessing.get_context('fork')
processes = [fork.Process(target=work, args=(number,)) for number in range(5)]
for process in processes: process.start()
for process in processes: process.join()
""",
    "threads": """\
import concurrent.futures
def work(number):
    print(number, flush=True)
    display(number)
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(work, range(400)))
""",
    "threads that are left": """\
import threading
def work():
    for number in range(100):
        display('x' * 10_000)
for _ in range(8): threading.Thread(target=work).start()
""",
}
"""What a kernel does that takes numbers of messages, or publishes them out of order."""


async def until(get: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := get()):
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.005)
    return value


async def started() -> AsyncIOLoopKernelManager:
    """Start a kernel, again if somebody else took a port that was chosen for it."""
    for _ in range(3):
        manager = AsyncIOLoopKernelManager(kernel_name="python3", autorestart=False)
        await manager.start_kernel(stderr=subprocess.DEVNULL)
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=WAIT_SECONDS)
        except RuntimeError:
            await manager.shutdown_kernel(now=True)
        else:
            return manager
        finally:
            client.stop_channels()
    raise AssertionError("no kernel starts")


@asynccontextmanager
async def talking() -> AsyncIterator[Conversation]:
    manager = await started()
    talk = Conversation(manager)
    try:
        # Before its subscription is known to the kernel nothing comes on IOPub.
        deadline = time.monotonic() + WAIT_SECONDS
        while not any(map(talk.states, talk.received)):
            assert time.monotonic() < deadline, "the kernel does not answer"
            talk.send("kernel_info_request", {})
            await asyncio.sleep(0.1)
        yield talk
    finally:
        talk.channels.close()
        talk.channels.close()
        await manager.shutdown_kernel(now=True)


async def test_input_and_a_password_are_asked_for_and_answered() -> None:
    """The request comes on stdin to the one who runs the code; its answer goes the same way."""
    async with talking() as talk:
        asked = talk.execute("import getpass\nprint(input('who? ') + getpass.getpass('word? '))")
        first = await talk.message(asked, "stdin", "input_request")
        talk.received[asked].remove(("stdin", first))
        talk.channels.send("input_reply", {"value": "me, "}, channel="stdin")
        second = await talk.message(asked, "stdin", "input_request")
        talk.channels.send("input_reply", {"value": "open"}, channel="stdin")

        reply = await talk.reply(asked)

        assert reply["status"] == "ok"
        assert first["content"] == {"prompt": "who? ", "password": False}
        assert second["content"] == {"prompt": "word? ", "password": True}
        assert talk.texts(asked) == ["me, open\n"]


async def test_input_ends_with_the_file_or_an_interrupt() -> None:
    """The end-of-transmission character raises `EOFError`; an interrupt ends the wait as well."""
    async with talking() as talk:
        asked = talk.execute("input()")
        await talk.message(asked, "stdin", "input_request")
        talk.channels.send("input_reply", {"value": "\x04"}, channel="stdin")
        assert (await talk.reply(asked))["ename"] == "EOFError"

        asked = talk.execute("input()")
        await talk.message(asked, "stdin", "input_request")
        await talk.manager.interrupt_kernel()
        assert (await talk.reply(asked))["ename"] == "KeyboardInterrupt"


async def test_a_subshell_runs_code_while_the_main_shell_is_busy() -> None:
    """What each publishes comes to who asked for it."""
    async with talking() as talk:
        created = await talk.message(
            talk.send("create_subshell_request", {}, "control"), "control", "create_subshell_reply"
        )
        subshell_id = created["content"]["subshell_id"]
        main = talk.execute("import threading\ngo = threading.Event()\ngo.wait(60)\nprint('main')")
        await until(lambda: talk.states(main))

        beside = talk.execute("print('beside')\ngo.set()", subshell_id=subshell_id)

        assert (await talk.reply(beside))["status"] == "ok"
        assert (await talk.reply(main))["status"] == "ok"
        assert talk.texts(beside) == ["beside\n"]
        assert talk.texts(main) == ["main\n"]
        deleted = talk.send("delete_subshell_request", {"subshell_id": subshell_id}, "control")
        message = await talk.message(deleted, "control", "delete_subshell_reply")
        assert message["content"]["status"] == "ok"


async def test_a_large_message_keeps_its_place() -> None:
    """What follows it waits; the event loop and the other channels do not."""
    async with talking() as talk:
        text = f"{'ä' * 999}\n" * 20_000
        asked = talk.execute(
            "print('before', flush=True)\n"
            "print(('ä' * 999 + '\\n') * 20_000, end='', flush=True)\n"
            "print('after', flush=True)"
        )
        await until(lambda: talk.channels.is_busy)
        assert talk.texts(asked) == ["before\n"]

        await talk.reply(asked)

        assert talk.texts(asked) == ["before\n", text, "after\n"]
        assert not talk.channels.is_busy


async def test_of_a_huge_text_its_subscriber_gets_what_it_can_use() -> None:
    """Beginning and end, and how much is missing between them."""
    async with talking() as talk:
        asked = talk.execute("print('begin' + 'é' * 5_000_000 + 'end')", max_text_bytes=LARGE_BYTES)

        await talk.reply(asked)

        head, tail = talk.texts(asked)
        assert head.startswith("beginéé")
        assert tail.endswith("ééend\n")
        sizes = [len(part.encode()) for part in (head, tail)]
        assert min(sizes) >= LARGE_BYTES / 2
        (left_out,) = [
            message["left_out_bytes"]
            for _, message in talk.received[asked]
            if "left_out_bytes" in message
        ]
        assert left_out == 10_000_009 - sum(sizes)


async def test_closing_while_a_large_message_is_read() -> None:
    """It is handed to nobody then, and closing waits for nothing."""
    async with talking() as talk:
        asked = talk.execute("print('x' * 50_000_000)")
        await until(lambda: talk.channels.is_busy)

        talk.channels.close()

        await until(lambda: not talk.channels.is_busy)
        assert talk.texts(asked) == []


async def test_what_is_not_signed_goes_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Neither to who asked nor to who looks after the process; the log does not say what it is."""
    async with talking() as talk:
        asked = talk.execute(
            "kernel = get_ipython().kernel\n"
            "from jupyter_client.session import Session\n"
            "forger = Session(key=b'another')\n"
            "parent = kernel.get_parent()\n"
            "for size in 1, 2_000_000:\n"
            "    content = {'name': 'stdout', 'text': 'z' * size}\n"
            "    forger.send(kernel.iopub_socket, 'stream', content, parent=parent)\n"
            "forger.send(kernel.iopub_socket, 'status', {'execution_state': 'dead'})"
        )

        assert (await talk.reply(asked))["status"] == "ok"

        assert talk.texts(asked) == []
        assert "dead" not in [message["content"]["execution_state"] for message in talk.lifecycle]
        assert [r.getMessage() for r in caplog.records if r.name == "channels"] == [
            "a message on iopub is not valid: ValueError"
        ] * 3


HEADER = b'{"msg_id": "m", "msg_type": "stream"}'
PRINTED = b'{"name": "stdout", "text": "printed"}'


class Attacker:
    """A process that bound a kernel's ports before the kernel did, and knows its key or not."""

    def __init__(self) -> None:
        self.manager = AsyncIOLoopKernelManager()
        self.manager.session.key = b"the kernel's"
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._sockets = {
            name: context.socket(zmq.PUB if name == "iopub" else zmq.ROUTER)
            for name in ("iopub", "shell", "control", "stdin")
        }
        for name, socket in self._sockets.items():
            socket.sndhwm = 0  # So that none is dropped.
            socket.linger = 0
            setattr(self.manager, f"{name}_port", socket.bind_to_random_port("tcp://127.0.0.1"))

    def close(self) -> None:
        for socket in self._sockets.values():
            socket.close()
        self.manager.context.destroy(linger=0)

    def publish(self, *frames: bytes) -> None:
        self._sockets["iopub"].send_multipart(frames)

    def signed(self, parent: bytes, content: bytes, header: bytes = HEADER) -> list[bytes]:
        """Return a message with the right signature."""
        texts = [header, parent, b"{}", content]
        return [b"stream", DELIM, self.manager.session.sign(texts), *texts]


INVALID: dict[str, Callable[[Attacker, bytes], list[bytes]]] = {
    "no frame": lambda _, __: [b""],
    "no delimiter": lambda attacker, parent: attacker.signed(parent, PRINTED)[2:],
    "missing parts": lambda attacker, parent: attacker.signed(parent, PRINTED)[:5],
    "header not JSON": lambda attacker, parent: attacker.signed(parent, PRINTED, b"{"),
    "header not an object": lambda attacker, parent: attacker.signed(parent, PRINTED, b"[]"),
    "no type": lambda attacker, parent: attacker.signed(parent, PRINTED, b'{"msg_id": "m"}'),
    "parent not an object": lambda attacker, _: attacker.signed(b"[1]", PRINTED),
    "content not JSON": lambda attacker, parent: attacker.signed(parent, b"{]"),
    "content not an object": lambda attacker, parent: attacker.signed(parent, b"[]"),
    "deep content": lambda attacker, parent: attacker.signed(parent, b"[" * 10_000),
    "wrong signature": lambda attacker, parent: [
        *attacker.signed(parent, PRINTED)[:2], b"0" * 64, HEADER, parent, b"{}", PRINTED
    ],
    "no signature": lambda attacker, parent: [
        *attacker.signed(parent, PRINTED)[:2], b"", HEADER, parent, b"{}", PRINTED
    ],
}  # fmt: skip


@pytest.fixture
def attacker() -> Iterator[Attacker]:
    attacker = Attacker()
    yield attacker
    attacker.close()


@pytest.mark.serial
async def test_a_flood_of_invalid_messages_is_counted(
    attacker: Attacker, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has a few lines and their number, the event loop goes on, and what is valid comes."""
    log = logging.getLogger("flooded channels")
    limit = LogLimit(log)
    log.addFilter(limit)
    channels = ZmqChannels(attacker.manager, on_lifecycle=lambda _: None, log=log)
    received: list[Message] = []
    asked = channels.send("execute_request", {}, channel="shell")
    channels.subscribe(asked, lambda _, message: received.append(message))
    parent = f'{{"msg_id": "{asked}"}}'.encode()
    valid = attacker.signed(parent, PRINTED)
    # Garbage collection would go through all that earlier tests have left.
    gc.collect()
    gc.freeze()
    try:
        # Before its subscription is known nothing comes.
        deadline = time.monotonic() + WAIT_SECONDS
        while not received:
            assert time.monotonic() < deadline, "nothing comes"
            attacker.publish(*valid)
            await asyncio.sleep(0.05)
        before = len(received)
        invalid = [make(attacker, parent) for make in INVALID.values()]
        longest_wait = 0.0

        for _ in range(FLOOD_ROUNDS):
            for frames in invalid:
                attacker.publish(*frames)
        attacker.publish(*attacker.signed(parent, b'{"name": "stdout", "text": "last"}'))
        while received[-1]["content"]["text"] != "last":
            assert time.monotonic() < deadline, "the valid message does not come"
            # Processor time, since a busy machine takes the processor away.
            start = time.thread_time()
            await asyncio.sleep(0)
            longest_wait = max(longest_wait, time.thread_time() - start)
    finally:
        gc.unfreeze()
        channels.close()
        limit.close()

    assert {message["content"]["text"] for message in received[before:]} <= {"printed", "last"}
    lines = [record for record in caplog.records if record.name == log.name]
    assert len(lines) == MAX_LINES + 1
    left_out = FLOOD_ROUNDS * len(INVALID) - MAX_LINES
    assert lines[-1].getMessage().startswith(f"{left_out} more lines were left out")
    assert len(caplog.text) < 10_000
    assert longest_wait < 0.1


async def test_what_others_asked_for_is_not_read(caplog: pytest.LogCaptureFixture) -> None:
    """What another client asked for is not even decoded, so nobody sees that it is broken."""
    async with talking() as talk:
        asked = talk.execute(
            "kernel = get_ipython().kernel\n"
            "parent = kernel.session.msg('execute_request')\n"
            "message = kernel.session.msg('stream', b'broken', parent=parent)\n"
            "kernel.session.send(kernel.iopub_socket, message)"
        )

        assert (await talk.reply(asked))["status"] == "ok"

        assert not [record for record in caplog.records if record.name == "channels"]
        assert talk.texts(asked) == []


async def test_no_message_is_missing_where_none_is_lost() -> None:
    """Whatever the code publishes, and while other clients and subshells send requests."""
    async with talking() as talk:
        created = await talk.message(
            talk.send("create_subshell_request", {}, "control"), "control", "create_subshell_reply"
        )
        other = talk.manager.client()
        other.start_channels()
        missing_counts = {}
        for name, code in COMPLETE_OUTPUT.items():
            deadline = time.monotonic() + WAIT_SECONDS
            before = talk.channels.missing_count
            asked = talk.execute(code)
            beside = talk.execute("print('beside')", subshell_id=created["content"]["subshell_id"])
            for _ in range(3):
                other.complete("pri")
                other.session.send(other.control_channel.socket, "usage_request")
            answered = 0
            while "idle" not in talk.states(asked):
                assert time.monotonic() < deadline, f"{name}: never idle"
                questions = sum(came_on == "stdin" for came_on, _ in talk.received[asked])
                for _ in range(questions - answered):
                    talk.channels.send("input_reply", {"value": ""}, channel="stdin")
                answered = questions
                await asyncio.sleep(0.005)
            missing_counts[name] = talk.channels.missing_count - before
            await talk.reply(beside)
        other.stop_channels()

        assert {name: n for name, n in missing_counts.items() if n > MAX_MISSING} == {}
