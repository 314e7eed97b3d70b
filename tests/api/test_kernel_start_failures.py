"""A kernel that cannot start: the record has what its process wrote to standard error."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from tests import echo_kernel
from tests.api.conftest import install_kernel
from tests.conftest import WAIT_SECONDS, ExecApi

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")

ECHO_KERNEL = str(Path(echo_kernel.__file__).resolve())


def install_python(data_dir: Path, name: str, code: str, **env: str) -> str:
    """Install a kernelspec whose process runs *code*."""
    install_kernel(data_dir, name, [sys.executable, "-c", code, "{connection_file}"], "echo", **env)
    return name


async def test_the_last_lines_of_standard_error_are_in_the_record(
    exec_api: ExecApi, jp_data_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are bounded, without colours, only in the full view, and still reach the server's."""
    code = (
        "import sys\n"
        "for number in range(100_000): print('line', number, file=sys.stderr)\n"
        "print('\\x1b[31mno such luck\\x1b[0m\\n\\n' + 'x' * 3_000, file=sys.stderr)\n"
        "sys.exit(7)"
    )
    name = install_python(jp_data_dir, "wordy", code)

    record = await exec_api.run_code("1", kernel_name=name)

    error = record["error"]
    assert (error["code"], error["exit_code"]) == ("KernelStartFailed", 7)
    assert error["details"][-2:] == ["no such luck", "x" * 3_000]
    assert error["details"][0] == f"line {100_000 - 18}"
    assert sum(map(len, error["details"])) <= 4_000
    assert "details" not in (await exec_api.get(record, view="basic"))["error"]
    assert "line 99999" in capfd.readouterr().err


async def test_values_of_the_environment_are_not_in_the_record(
    exec_api: ExecApi, jp_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the process writes them: of inputs, of the session, and the server's secrets."""
    monkeypatch.setenv("TEST_API_TOKEN", "inherited-secret")
    code = (
        "import json, os, sys\n"
        "e = {n: v for n, v in os.environ.items() if n in ('A', 'B', 'TEST_API_TOKEN', 'SHORT')}\n"
        "print(e, json.dumps(e), e['A'], e['B'], file=sys.stderr)\n"
        "print('\\n'.join(f'export {n}={v}' for n, v in e.items()), file=sys.stderr)\n"
        "sys.exit('the end')"
    )
    name = install_python(jp_data_dir, "leaky", code)
    inputs = {"A": 'first "line"\nsecond\\line', "B": "né-secret", "SHORT": "s!"}

    record = await exec_api.run_code("1", kernel_name=name, inputs=inputs)

    text = "\n".join(record["error"]["details"])
    assert text.endswith("the end")
    assert "export SHORT=***" in text
    for part in ("first", "second", "secret", "export SHORT=s!"):
        assert part not in text


async def test_a_value_that_is_written_in_pieces_is_not_in_the_record(
    exec_api: ExecApi, jp_data_dir: Path
) -> None:
    """Not over several writes or lines, in a box, nor where the kept text begins in a value."""
    code = (
        "import os, sys\n"
        "def write(*texts): [os.write(2, text.encode()) for text in texts]\n"
        "one, two, three = (os.environ[name] for name in ('ONE', 'TWO', 'THREE'))\n"
        "if sys.argv[2] == 'cut':\n"
        "    write(one + 'x' * (16_384 - 6))\n"
        "    sys.exit(1)\n"
        "write('one=', one[:7], one[7:], '\\n')\n"
        "write('two=' + two[:7] + '\\n', two[7:] + ' after\\n')\n"
        "write(f'| {three[:5]} |\\n| {three[5:10]} |\\n', f'| {three[10:]} | last\\n')\n"
        "sys.exit('the end')"
    )
    inputs = {"ONE": "quiet-harbour", "TWO": "yellow-bicycle", "THREE": "cracked-saucer"}
    details = {}
    for name in ("pieces", "cut"):
        install_kernel(
            jp_data_dir, name, [sys.executable, "-c", code, "{connection_file}", name], "echo"
        )

        record = await exec_api.run_code("1", kernel_name=name, inputs=inputs)

        details[name] = record["error"]["details"]
    assert details["pieces"] == [
        "one=***", "two=***", "*** after", "| *** |", "| *** |", "| *** | last", "the end",
    ]  # fmt: skip
    assert details["cut"] == ["x" * 4_000]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("re.py", "x = 1"),
        ("re.py", "raise OSError('no')"),
        ("enum/__init__.py", "import nothing_of_that_name"),
    ],
)
async def test_a_file_that_hides_a_module_is_named(exec_api: ExecApi, file: str, text: str) -> None:
    path = exec_api.root / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)

    record = await exec_api.run_code("1")

    error = record["error"]
    assert error["code"] == "KernelStartFailed"
    name = file.removesuffix("__init__.py")
    assert f"{name} in the kernel's folder hides the Python module" in error["message"]
    assert any("Traceback" in line or "Error" in line for line in error["details"])


async def test_an_innocent_file_is_not_blamed(exec_api: ExecApi, jp_data_dir: Path) -> None:
    """A Python without ipykernel says so, whatever files are in the folder."""
    for name in ("re.py", "ipykernel.py", "runpy.py"):
        (exec_api.root / name).write_text("x = 1")
    argv = [sys.executable, "-I", "-S", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    install_kernel(jp_data_dir, "bare", argv, "python")

    record = await exec_api.run_code("1", kernel_name="bare")

    assert record["error"]["message"].endswith("ended with exit code 1")
    assert record["error"]["details"][-1].endswith("No module named ipykernel_launcher")


async def test_a_program_without_rights_is_named(exec_api: ExecApi, jp_data_dir: Path) -> None:
    program = exec_api.root / "program"
    program.write_text("#!/bin/sh\n")
    install_kernel(jp_data_dir, "weak", [str(program), "{connection_file}"], "echo")

    record = await exec_api.run_code("1", kernel_name="weak")

    assert record["error"]["code"] == "KernelStartFailed"
    assert f"Permission denied: {program}" in record["error"]["message"]


@pytest.mark.parametrize("exec_config", [{"kernel_start_timeout_seconds": 1.5}])
async def test_a_kernel_that_does_not_answer_is_explained(
    exec_api: ExecApi, jp_data_dir: Path
) -> None:
    argv = ["sh", "-c", "echo waiting for a licence >&2; exec sleep 600", "{connection_file}"]
    install_kernel(jp_data_dir, "patient", argv, "echo")

    record = await exec_api.run_code("1", kernel_name="patient")

    assert "1.5 s" in record["error"]["message"]
    assert record["error"]["details"] == ["waiting for a licence"]


async def test_a_session_shows_why_its_kernel_did_not_start_or_restart(
    exec_api: ExecApi, jp_data_dir: Path
) -> None:
    """Its record has the reason at the start and at a restart, and so has a request for more."""
    code = (
        "import os, pathlib, sys\n"
        "if pathlib.Path('broken').exists(): sys.exit('the disk is broken')\n"
        f"os.execv(sys.executable, [sys.executable, {ECHO_KERNEL!r}, sys.argv[1]])"
    )
    name = install_python(jp_data_dir, "fragile", code)
    (exec_api.root / "work").mkdir()
    session = await exec_api.new_session(kernel_name=name, path="work")
    session = await exec_api.until_session(session["id"], lambda record: "kernel_id" in record)
    (exec_api.root / "work" / "broken").touch()

    answer = await exec_api.request("POST", "sessions", session["id"], "restart", body="")
    restarted = await exec_api.until_session(
        session["id"], lambda record: (record.get("kernel_error") or {}).get("details") is not None
    )
    record = await exec_api.run_code("1", session_id=session["id"])
    completion = await exec_api.request(
        "POST", "sessions", session["id"], "complete", json={"code": "x"}
    )
    other = await exec_api.new_session(kernel_name=name, path="work")
    other = await exec_api.until_session(other["id"], lambda record: "kernel_error" in record)

    assert answer.status == 200
    for error in (restarted["kernel_error"], record["error"], other["kernel_error"]):
        assert error["code"] == "KernelStartFailed"
        assert error["details"] == ["the disk is broken"]
    assert completion.status == 503
    assert completion.json["details"] == ["the disk is broken"]


@contextmanager
def standard_error_in(path: Path) -> Iterator[Path]:
    """Let the standard error of this process go to a file."""
    former = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield path
    finally:
        os.dup2(former, 2)
        os.close(former)


async def test_standard_error_of_a_running_kernel_reaches_the_servers(
    exec_api: ExecApi, jp_data_dir: Path, tmp_path: Path
) -> None:
    """A kernel that writes more than a pipe holds never waits, and nothing of it is lost."""
    code = (
        "import os, runpy, sys, threading\n"
        "def write(): os.write(2, b'z' * 1_000_000)\n"
        "write()\n"
        "threading.Timer(0.1, write).start()\n"
        f"runpy.run_path({ECHO_KERNEL!r}, run_name='__main__')"
    )
    name = install_python(jp_data_dir, "chatty", code)

    with standard_error_in(tmp_path / "stderr") as file:
        session = await exec_api.new_session(kernel_name=name)
        record = await exec_api.run_code("hello", session_id=session["id"])
        async with asyncio.timeout(WAIT_SECONDS):
            while file.stat().st_size < 2_000_000:
                await asyncio.sleep(0.05)

    assert record["state"] == "succeeded"


class StrictProvisioner(LocalProvisioner):
    """Takes no other arguments of `Popen` than it knows."""

    async def launch_kernel(  # type: ignore[override]
        self, cmd: list[str], *, env: dict[str, str], cwd: str, **kwargs: Any
    ) -> Any:
        if kwargs:
            raise TypeError(f"unexpected arguments: {sorted(kwargs)}")
        return await super().launch_kernel(cmd, env=env, cwd=cwd)


class ForgetfulProvisioner(LocalProvisioner):
    """Ignores other arguments of `Popen`."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        return await super().launch_kernel(cmd, env=kwargs["env"], cwd=kwargs["cwd"])


@pytest.mark.parametrize("provisioner", [StrictProvisioner, ForgetfulProvisioner])
async def test_a_provisioner_that_does_not_take_standard_error_works(
    exec_api: ExecApi,
    jp_data_dir: Path,
    jp_serverapp: Any,
    monkeypatch: pytest.MonkeyPatch,
    provisioner: type[LocalProvisioner],
) -> None:
    """Its kernels start, restart and fail as before, without the reason."""
    value = f"{__name__}:{provisioner.__name__}"
    entry = EntryPoint("test", value, KernelProvisionerFactory.GROUP_NAME)
    factory = KernelProvisionerFactory.instance(parent=jp_serverapp.kernel_manager)
    monkeypatch.setitem(factory.provisioners, "test", entry)
    for name, argv in {
        "good": [sys.executable, ECHO_KERNEL, "{connection_file}"],
        "bad": [sys.executable, "-c", "raise SystemExit('why')", "{connection_file}"],
    }.items():
        install_kernel(jp_data_dir, name, argv, "echo")
        spec = jp_data_dir / "kernels" / name / "kernel.json"
        metadata = '"metadata": {"kernel_provisioner": {"provisioner_name": "test"}}, '
        spec.write_text(spec.read_text().replace("{", "{" + metadata, 1))
    session = await exec_api.new_session(kernel_name="good")

    good = await exec_api.run_code("hello", session_id=session["id"])
    await exec_api.request("POST", "sessions", session["id"], "restart", body="")
    again = await exec_api.run_code("hello", session_id=session["id"])
    bad = await exec_api.run_code("1", kernel_name="bad")

    assert (good["state"], again["state"]) == ("succeeded", "succeeded")
    assert bad["error"]["code"] == "KernelStartFailed"
    assert "details" not in bad["error"]
    assert not jp_serverapp.kernel_manager._pending_kernels


@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the open files")
async def test_pipes_and_threads_end_with_their_kernels(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    await exec_api.run_code("1", kernel_name=echo_kernel_name)
    before = open_files()

    for _ in range(10):
        await exec_api.run_code("1", kernel_name=echo_kernel_name)

    # ZeroMQ closes the sockets of an ended kernel in its own thread.
    async with asyncio.timeout(WAIT_SECONDS):
        while open_files() >= before + 5:
            await asyncio.sleep(0.05)
