"""The kernel of the tests that need no language."""

from tests.conftest import ExecApi


async def test_the_echo_kernel_says_the_code_back(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """Each cell is printed and shown, and none is run."""
    spec = {"name": echo_kernel_name, "display_name": "Echo"}
    exec_api.write_notebook("nb.ipynb", "1/0", "%%bash\nfalse", kernelspec=spec)

    record = await exec_api.run("nb.ipynb", inputs={"A": "1"}, variable_names=["x"])

    assert record["state"] == "succeeded"
    assert record["result"]["stdout"] == "1/0\n%%bash\nfalse\n"
    shown = [output for output in record["result"]["outputs"] if "data" in output]
    assert [output["data"]["text/plain"] for output in shown] == ["1/0", "%%bash\nfalse"]
    assert [output["execution_count"] for output in shown] == [1, 2]
