"""What services tell of sessions and their files, for doors that know them by name."""

from pathlib import Path

import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.errors import NoSuchFileError
from jupyter_exec_ext.core.files import FileType
from tests.api.session_files import BareRequest, Files
from tests.conftest import ExecApi


async def test_a_session_is_found_by_its_name_while_it_lasts(
    exec_api: ExecApi, exec_app: ExecApp, echo_kernel_name: str
) -> None:
    """And not another one, nor one that is gone."""
    session = await exec_api.new_session(name="mine", kernel_name=echo_kernel_name)
    await exec_api.new_session(kernel_name=echo_kernel_name)

    found = await exec_app.sessions.named("mine")
    assert found is not None
    assert found.id == session["id"]
    assert await exec_app.sessions.named("other") is None
    await exec_api.request("DELETE", "sessions", session["id"])
    assert await exec_app.sessions.named("mine") is None


async def test_a_file_can_be_looked_at(files: Files, exec_app: ExecApp) -> None:
    """A folder too, and what is not there is refused."""
    await files.put("in/a.csv", b"1,2")

    file = await exec_app.files.stat(files.key, "in/a.csv")
    folder = await exec_app.files.stat(files.key, "in")

    assert (file.path, file.type, file.size_bytes) == ("in/a.csv", FileType.FILE, 3)
    assert (folder.path, folder.type) == ("in", FileType.DIRECTORY)
    with pytest.raises(NoSuchFileError):
        await exec_app.files.stat(files.key, "in/b.csv")


async def test_the_place_of_a_session_is_where_its_kernel_works(
    exec_api: ExecApi, exec_app: ExecApp
) -> None:
    """As the kernel itself tells it."""
    session = await exec_api.new_session()
    record = await exec_api.run_code("import os; os.getcwd()", session_id=session["id"])

    place = exec_app.files.place_of(await exec_app.sessions.get(session["id"]))

    assert place is not None
    assert Path(place).resolve() == Path(record["result"]["value"]).resolve()


async def test_nobody_is_asked_for_rights(
    files: Files, bare_request: BareRequest, exec_app: ExecApp
) -> None:
    """An upload without credentials is refused before a byte of it is kept, whatever the
    authorizer would say of nobody, and also where each verb looks after itself.
    """
    assert exec_app.serverapp is not None
    exec_app.serverapp.web_app.settings["allow_unauthenticated_access"] = True
    made: list[str] = []
    real = exec_app.files.receive

    async def receive(session_id: str, *, user: str) -> object:
        made.append(session_id)
        return await real(session_id, user=user)

    exec_app.files.receive = receive  # type: ignore[method-assign, assignment]
    xsrf = {"Cookie": "_xsrf=0a0b0c0d", "X-XSRFToken": "0a0b0c0d"}
    where = f"exec/sessions/{files.key}/files/a"

    answer = await bare_request("PUT", where, headers=xsrf, body=b"data")

    assert answer.status == 403
    assert made == []
    await files.put("a")
    assert made == [files.key]
