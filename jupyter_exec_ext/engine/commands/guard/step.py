"""Runs one step, relays what it prints, and ends all that comes from it."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any

from jupyter_exec_ext.engine.commands.guard.choice import choose
from jupyter_exec_ext.engine.commands.guard.outbox import Outbox
from jupyter_exec_ext.engine.commands.guard.tree import (
    GIVE_UP_SECONDS,
    PR_SET_PDEATHSIG,
    Tree,
    prctl,
)

CHECK_SECONDS = 0.5
TIDY_SECONDS = 0.5
READ_BYTES = 65536


class Guard:
    """One step: its process, all that descends from it, and what they print."""

    def __init__(self, request: dict[str, Any], parent: int) -> None:
        self.request = request
        self.grace = request["grace_seconds"]
        self.pid = 0
        self.status: int | None = None
        self.asked = 0
        self.is_gone = False
        self.interrupt_time: float | None = None
        self.term_time: float | None = None
        self.kill_time: float | None = None
        self.end_time: float | None = None
        self.in_w: int | None = None
        self.readers: dict[int, str] = {}
        self.tree = Tree()
        self.parent = parent
        fd = self.open_output()
        self.outbox = Outbox(
            fd, request["marker"], request["max_text_bytes"], request["chunk_bytes"]
        )
        self.wake, wake = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGINT, self.ask)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, self.leave)

    @staticmethod
    def open_output() -> int:
        """Return where to write without ever waiting; a terminal's other users are left alone."""
        if os.isatty(1):
            return os.open(os.ttyname(1), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        os.set_blocking(1, False)
        return 1

    def ask(self, *_: object) -> None:
        self.asked += 1

    def leave(self, *_: object) -> None:
        self.is_gone = True

    def run(self) -> None:
        """Run the step, and tell how it ended."""
        command = self.request["command"]
        if command == "*":
            command, does_fit = choose(
                self.request["rules"], sys.executable if self.request["own_python"] else "python3"
            )
            if command is None and does_fit:
                self.finish({"is_skipped": True})
                return
            if command is None:
                self.fail(127, f"nothing here fits '*': looked for {self.request['looked_for']}")
                return
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        problem = self.start(argv)
        if problem:
            name = argv[0][:200].encode("utf-8", "replace").decode()
            self.fail(127 if problem in (errno.ENOENT, errno.ENOTDIR) else 126, name, problem)
            return
        self.tree.group = self.pid
        self.outbox.tell("b", b"%d %d" % (self.pid, os.getpid()))
        self.watch()
        code = self.status or 0
        if os.WIFSIGNALED(code):
            number = os.WTERMSIG(code)
            try:
                name = signal.Signals(number).name
            except ValueError:
                name = f"signal {number}"
            self.finish({"exit_code": 128 + number, "signal": name})
        else:
            self.finish({"exit_code": os.WEXITSTATUS(code)})

    def fail(self, code: int, text: str, number: int | None = None) -> None:
        """Tell that nothing was started, as a shell does."""
        why = f"{text}: {os.strerror(number).lower()}" if number else text
        self.outbox.add("e", (why + "\n").encode("utf-8", "replace"))
        self.finish({"exit_code": code})

    def start(self, argv: list[str]) -> int:
        """Start the command in a session of its own; return the error number if it cannot be."""
        answer = self.request["stdin"]
        self.to_feed = b"" if answer is None else base64.b64decode(answer)
        pipes = [os.pipe() for _ in range(4)]
        (in_r, in_w), (out_r, out_w), (err_r, err_w), (told_r, told_w) = pipes
        guard = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                for number in range(1, signal.NSIG):
                    with contextlib.suppress(OSError, ValueError):
                        signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                os.setsid()
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != guard:
                    os._exit(0)
                for source, target in ((in_r, 0), (out_w, 1), (err_w, 2)):
                    os.dup2(source, target)
                os.execvp(argv[0], argv)  # noqa: S606 - what the user asked for
            except OSError as error:
                os.write(told_w, b"%d" % (error.errno or errno.EACCES))
            except BaseException:  # noqa: BLE001 - a second guard must not go on here
                os.write(told_w, b"%d" % errno.EACCES)
            os._exit(126)
        for fd in (in_r, out_w, err_w, told_w):
            os.close(fd)
        problem = os.read(told_r, 16)
        os.close(told_r)
        if problem:
            os.waitpid(self.pid, 0)
            return int(problem)
        for fd in (in_w, out_r, err_r):
            os.set_blocking(fd, False)
        self.in_w, self.readers = in_w, {out_r: "o", err_r: "e"}
        if not self.to_feed:
            self.close_input()
        return 0

    def close_input(self) -> None:
        if self.in_w is not None:
            os.close(self.in_w)
            self.in_w = None

    def watch(self) -> None:
        """Relay until the command and all that it left behind have ended."""
        while not self.has_ended():
            self.wait()
            self.press()
            if self.is_gone:
                self.tree.kill_all()
                os._exit(0)
        # Nobody writes any more, but for what could not be killed.
        while sum(self.read(fd) for fd in list(self.readers)):
            self.write()

    def wait(self) -> None:
        """Wait for anything to happen, and take it."""
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        poll.register(self.outbox.fd, select.POLLOUT if self.outbox.wants_to_write else 0)
        if self.request["watch_stdin"]:
            poll.register(0, select.POLLIN)
        if self.in_w is not None:
            poll.register(self.in_w, select.POLLOUT)
        for fd in self.readers if self.outbox.has_room else ():
            poll.register(fd, select.POLLIN)
        seconds = CHECK_SECONDS
        if self.outbox.queue:
            seconds = min(seconds, max(0.001, self.outbox.wait_seconds()))
        if self.asked or self.end_time is not None:
            seconds = min(seconds, 0.02)
        for fd, event in poll.poll(1000 * seconds):
            if fd == self.wake:
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 4096)
            elif fd in self.readers:
                self.read(fd)
            elif fd == self.in_w:
                self.feed()
            elif fd == self.outbox.fd:
                self.is_gone |= bool(event & (select.POLLERR | select.POLLHUP))
            elif not os.read(0, 4096):
                self.is_gone = True
        if os.getppid() != self.parent:
            self.is_gone = True
        self.write()

    def write(self, *, is_last: bool = False) -> None:
        try:
            self.outbox.write(is_last=is_last)
        except OSError:
            self.is_gone = True

    def read(self, fd: int) -> bool:
        """Take some output; return whether there was any."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self.outbox.add(self.readers[fd], data)
        else:
            del self.readers[fd]
            os.close(fd)
        return bool(data)

    def feed(self) -> None:
        assert self.in_w is not None
        try:
            self.to_feed = self.to_feed[os.write(self.in_w, self.to_feed[:READ_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:
            self.to_feed = b""
        if not self.to_feed:
            self.close_input()

    def has_ended(self) -> bool:
        """Reap what ended; return whether nothing is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.pid:
                    self.status = status
        except ChildProcessError:
            if self.tree.is_reaper or self.status is None:
                return True
        if self.status is None:
            return False
        now = time.monotonic()
        if self.end_time is None:
            self.end_time = now
            self.close_input()
            self.tree.signal_all(signal.SIGTERM)
            self.tree.signal_all(signal.SIGCONT)
            tidy_time = now + min(TIDY_SECONDS, self.grace / 4)
            self.kill_time = min(self.kill_time or tidy_time, tidy_time)
        if not self.tree.is_reaper and not self.tree.find():
            return True
        return now > self.end_time + GIVE_UP_SECONDS

    def press(self) -> None:
        """Do what is due to end the command."""
        now = time.monotonic()
        if self.asked and self.interrupt_time is None:
            self.interrupt_time = now
            self.signal_group(signal.SIGINT)
            self.term_time = now + self.grace / 5
            kill_time = now + 2 * self.grace / 5
            self.kill_time = min(self.kill_time or kill_time, kill_time)
        if self.asked > 1 and self.term_time is not None:
            self.term_time = now
        if self.asked > 2:
            self.kill_time = now
        if self.term_time is not None and now >= self.term_time:
            self.term_time = None
            self.tree.signal_all(signal.SIGTERM)
            self.tree.signal_all(signal.SIGCONT)
        if self.kill_time is not None and now >= self.kill_time:
            self.tree.kill_round()

    def signal_group(self, number: int) -> None:
        if self.status is None:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)

    def finish(self, facts: dict[str, Any]) -> None:
        """Write what is left, and how the step ended; a stop leaves out what was not written."""
        asked = self.asked
        while self.outbox.queue and not self.is_gone and self.asked == asked:
            self.write(is_last=True)
            self.wait_to_write()
        facts.update(stdout_bytes=self.outbox.totals["o"], stderr_bytes=self.outbox.totals["e"])
        self.outbox.tell("x", base64.b64encode(json.dumps(facts).encode()))
        while self.outbox.line and not self.is_gone:
            self.write()
            self.wait_to_write()

    def wait_to_write(self) -> None:
        if self.outbox.line:
            poll = select.poll()
            poll.register(self.outbox.fd, select.POLLOUT)
            for _, event in poll.poll(1000 * CHECK_SECONDS):
                self.is_gone |= bool(event & (select.POLLERR | select.POLLHUP))
            self.is_gone |= os.getppid() != self.parent


def main(request: dict[str, Any]) -> None:
    """Run the step that *request* describes; the exit code of this program says nothing.

    The guard runs in a child. Should the command end that, its orphans come here.
    """
    if request["own_session"]:
        with contextlib.suppress(OSError):
            os.setsid()
    os.closerange(3, 1024)
    tree = Tree()
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if len(sys.argv) > 1 and os.getppid() != int(sys.argv[1]):
        return
    own = os.getpid()
    guard = os.fork()
    if guard == 0:
        try:
            Guard(request, own).run()
        finally:
            os._exit(0)
    # Who interrupts means the guard, and without this process the guard gives up.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    os.waitpid(guard, 0)
    tree.kill_all()
