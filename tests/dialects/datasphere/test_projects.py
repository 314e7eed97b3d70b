"""Projects are folders of the contents, wherever these are."""

import json
from typing import Any

import httpx
import pytest
from traitlets.config import Config

from tests.api.test_contents_elsewhere import MemoryContents
from tests.conftest import ExecApi
from tests.dialects.datasphere.conftest import execute

PROJECTS = "datasphere/v2/projects"


class TestElsewhere:
    """Contents that are in memory, and do not tell when anything was made."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config: Config) -> Config:
        jp_server_config["ServerApp"]["contents_manager_class"] = MemoryContents
        return jp_server_config

    async def test_projects_are_in_the_contents(
        self, datasphere: httpx.AsyncClient, jp_serverapp: Any
    ) -> None:
        """What is not known is left out; a file is no project."""
        kept = jp_serverapp.contents_manager.kept
        kept |= {"team": None, "team/reports": b"a file"}

        before = (await datasphere.get(PROJECTS)).json()["projects"]
        kept["team/reports"] = None
        after = (await datasphere.get(PROJECTS)).json()["projects"]

        assert [project["id"] for project in before] == ["default"]
        assert [project["id"] for project in after] == ["default", "reports"]
        assert all("createdAt" not in project for project in after)


@pytest.mark.parametrize(
    "datasphere_config", [{"projects": {"a": "/team/a/", "hidden": ".secret"}}]
)
async def test_folders_that_nobody_may_see_are_no_projects(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Slashes around a folder do not matter; there is no `default` unless it is configured."""
    exec_api.write_notebook("team/a/nb.ipynb", "x = 1")
    exec_api.write_notebook(".secret/nb.ipynb", "x = 1")

    listed = (await datasphere.get(PROJECTS)).json()["projects"]
    operation = await execute(datasphere, project="v2/projects/a", notebookId="nb.ipynb")

    assert [project["id"] for project in listed] == ["a"]
    assert operation["response"]["executionStatus"] == "OK"
    for other in ("hidden", "default"):
        body = {"notebookId": "nb.ipynb"}
        for answer in (
            await datasphere.get(f"{PROJECTS}/{other}"),
            await datasphere.post(f"{PROJECTS}/{other}:execute", json=body),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, 5)


@pytest.mark.parametrize("datasphere_config", [{"projects": {}, "max_page_size": 1}])
async def test_a_list_of_no_projects_is_a_list(datasphere: httpx.AsyncClient) -> None:
    """Clients index it, and go on to the next page until none is named."""
    assert (await datasphere.get(PROJECTS)).json() == {"projects": []}


NAMES = {"alpha": "", "alphabet": "", "beta": "", "a?b": "", "a[b]": ""}


@pytest.mark.parametrize("datasphere_config", [{"projects": NAMES}])
@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", ["a?b", "a[b]", "alpha", "alphabet", "beta"]),
        ("BET", ["alphabet", "beta"]),
        ("bet*", ["beta"]),
        ("*bet", ["alphabet"]),
        ("a*a", ["alpha"]),
        ("a*ph*e*t", ["alphabet"]),
        ("beta*a", []),
        ("a?", ["a?b"]),
        ("[b", ["a[b]"]),
        ("[a]*", []),
        ("*a" * 99, []),
        ("*" * 200, ["a?b", "a[b]", "alpha", "alphabet", "beta"]),
    ],
)
async def test_a_pattern_is_a_part_of_the_name_or_has_stars(
    datasphere: httpx.AsyncClient, pattern: str, found: list[str]
) -> None:
    """No other character means anything but itself, and case means nothing."""
    answer = await datasphere.get(PROJECTS, params={"projectNamePattern": pattern})

    assert [project["id"] for project in answer.json()["projects"]] == found


@pytest.mark.parametrize("datasphere_config", [{"projects": NAMES, "max_page_size": 3}])
async def test_a_page_has_as_many_as_it_may(datasphere: httpx.AsyncClient) -> None:
    """Where none is asked for, or 0; a whole number may be a double, as all of JSON's are."""
    counts = []
    for body in ({}, {"pageSize": 0}, {"pageSize": "2"}, {"pageSize": 2.0}, {"pageSize": 3}):
        shown = (await datasphere.request("GET", PROJECTS, json=body)).json()
        counts.append(len(shown["projects"]))
        assert shown["nextPageToken"] == shown["projects"][-1]["id"]
    refused = await datasphere.get(PROJECTS, params={"pageSize": 4})

    assert counts == [3, 3, 2, 2, 3]
    assert (refused.status_code, refused.json()["code"]) == (400, 3)


async def test_cells_without_an_id_are_not_named(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Before nbformat 4.5 cells have none, and one that is made up would be another each time."""
    cell: dict[str, Any] = {
        "cell_type": "code",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    old = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [{**cell, "source": "1"}]}
    (exec_api.root / "old.ipynb").write_text(json.dumps(old))

    where = "datasphere/v1/projects/default:notebookMetadata"
    shown = (await datasphere.get(where, params={"notebookPath": "/old.ipynb"})).json()

    assert shown["notebookId"] == "/old.ipynb"
    assert shown["cellIds"] == []
    assert shown["contentLength"] == str((exec_api.root / "old.ipynb").stat().st_size)
