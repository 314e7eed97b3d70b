"""Aliases of functions, beyond the recorded exchanges."""

import asyncio
import json
import shutil
from typing import Any

from jupyter_exec_ext.dialects.qinling.wire import function_id_of
from tests.dialects.qinling.conftest import Qinling, form_of, notebook_text, package_of


async def create(qinling: Qinling, name: str, function: str) -> Any:
    """Give a function an alias."""
    return await qinling.request("POST", "aliases", {"name": name, "function_id": function})


async def functions_of(qinling: Qinling) -> dict[str, str]:
    """Return the ids of the functions that have aliases, by alias."""
    aliases = (await qinling.get("aliases"))["function_aliases"]
    return {alias["name"]: alias["function_id"] for alias in aliases}


async def test_an_alias_is_in_the_notebook(qinling: Qinling) -> None:
    """It survives a change of the function; of copies the first by path has it, and a copy can
    be deleted.
    """
    qinling.api.write_notebook("b.ipynb", "1")
    created = await create(qinling, "live", "b")
    body, kind = form_of(package_of(nb__ipynb=notebook_text("2")), timeout="9")
    await qinling.request("PUT", "functions/b", body, Content_Type=kind)
    for copy in ("a", "c"):
        shutil.copy(qinling.api.root / "b.ipynb", qinling.api.root / f"{copy}.ipynb")

    first = await functions_of(qinling)
    run = await qinling.request("POST", "executions", {"function_alias": "live"})
    answers = [
        (await qinling.request("DELETE", f"functions/{name}")).status for name in ("c", "b", "a")
    ]
    gone = await qinling.request("DELETE", "aliases/live")

    assert created.status == 201
    assert first == {"live": function_id_of("a.ipynb")}
    assert run.json["function_id"] == function_id_of("a.ipynb")
    assert json.loads(run.json["result"])["output"] == 2
    assert answers == [204, 204, 403]
    assert gone.status == 204


async def test_an_alias_that_is_moved_or_deleted_is_nowhere_else(qinling: Qinling) -> None:
    """Not in copies either, which would have it then."""
    for name in ("a", "b", "c"):
        qinling.api.write_notebook(f"{name}.ipynb", "1", qinling={"aliases": {"live": ""}})

    moved = await qinling.request("PUT", "aliases/live", {"function_id": "c.ipynb"})
    after = await functions_of(qinling)
    await qinling.request("DELETE", "aliases/live")

    assert moved.json["function_id"] == function_id_of("c.ipynb")
    assert after == {"live": function_id_of("c.ipynb")}
    assert await functions_of(qinling) == {}


async def test_one_of_two_makes_an_alias(qinling: Qinling) -> None:
    """When both try at once; a function can have several."""
    qinling.api.write_notebook("a.ipynb", "1")
    qinling.api.write_notebook("b.ipynb", "1")

    answers = await asyncio.gather(
        create(qinling, "one", "a.ipynb"),
        create(qinling, "one", "b.ipynb"),
        create(qinling, "two/é", "a.ipynb"),
        create(qinling, "three", "a.ipynb"),
    )

    assert sorted(answer.status for answer in answers) == [201, 201, 201, 400]
    assert set(await functions_of(qinling)) == {"one", "two/é", "three"}
    assert (await qinling.get("aliases/two/%C3%A9"))["name"] == "two/é"


async def test_what_is_no_alias_is_left_out(qinling: Qinling) -> None:
    """Whatever a notebook says; a package brings none."""
    for name, said in (("a", ["live"]), ("b", {"": "", "x": 1}), ("c", 1)):
        qinling.api.write_notebook(f"{name}.ipynb", "1", qinling={"aliases": said})
    text = notebook_text("1", qinling={"aliases": {"brought": ""}})
    body, kind = form_of(package_of(nb__ipynb=text), code='{"source": "package"}')
    await qinling.request("POST", "functions", body, Content_Type=kind)

    assert await functions_of(qinling) == {"x": function_id_of("b.ipynb")}
    assert (await create(qinling, "live", "a.ipynb")).status == 201
    assert (await create(qinling, "x" * 256, "a.ipynb")).status == 400
    assert (await create(qinling, "", "a.ipynb")).status == 400


async def test_a_function_gets_an_alias_or_is_deleted(qinling: Qinling) -> None:
    """Not both, when both are asked for at once."""
    for number in range(5):
        qinling.api.write_notebook(f"f{number}.ipynb", "1")
        named, deleted = await asyncio.gather(
            create(qinling, f"a{number}", function_id_of(f"f{number}.ipynb")),
            qinling.request("DELETE", f"functions/f{number}"),
        )
        assert (named.status, deleted.status) in ((201, 403), (404, 204))
