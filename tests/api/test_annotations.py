"""Texts that a client wants to find in a record again."""

import pytest

from tests.conftest import ExecApi


async def test_annotations_come_back(exec_api: ExecApi) -> None:
    """In the record of an execution and of a session; a list of executions leaves them out."""
    told = {"any name / at all": "any text\n" * 1000, "": ""}
    session = await exec_api.new_session(annotations=told)

    record = await exec_api.run_code("1", session_id=session["id"], annotations=told)
    listed = (await exec_api.request("GET", "executions")).json["executions"]

    assert record["annotations"] == told
    assert (await exec_api.session(session["id"]))["annotations"] == told
    assert [execution["annotations"] for execution in listed] == [{}]


@pytest.mark.parametrize("exec_config", [{"max_annotation_bytes": 10}])
async def test_annotations_have_a_limit(exec_api: ExecApi) -> None:
    """In bytes, of names and texts together."""
    answers = [
        await exec_api.request(
            "POST", "executions", json={"code": "1", "annotations": {"name": "ä" * count}}
        )
        for count in (3, 4)
    ]

    assert [answer.status for answer in answers] == [202, 422]
    assert answers[1].json["target"] == "annotations"
