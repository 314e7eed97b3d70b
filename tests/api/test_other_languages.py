"""Notebooks of other kernels than Python: inputs go in and variables come out all the same."""

import sys
from pathlib import Path
from typing import Any

from tests.api.conftest import install_kernel
from tests.conftest import ExecApi


def language_metadata(name: str) -> dict[str, Any]:
    return {"kernelspec": {"name": name, "display_name": name}}


async def test_a_notebook_in_r(exec_api: ExecApi, ir_kernel: str) -> None:
    """R: inputs from the environment, also over the kernelspec's; vectors and tables come out."""
    exec_api.write_notebook(
        "r.ipynb",
        'n <- as.integer(Sys.getenv("N")); fixed <- Sys.getenv("FIXED"); cat("hello\\n")',
        "squares <- (1:n)^2; frame <- data.frame(a = 1:2, b = c('x', 'y'))",
        **language_metadata(ir_kernel),
    )

    record = await exec_api.run(
        "r.ipynb",
        inputs={"N": 3, "FIXED": "input"},
        variable_names=["n", "squares", "frame", "fixed", "none"],
    )

    variables = record["result"]["variables"]
    assert record["state"] == "succeeded"
    assert record["result"]["stdout"] == "hello\n"
    assert variables["n"]["json"] == 3
    assert variables["squares"]["json"] == [1, 4, 9]
    assert variables["fixed"]["json"] == "input"
    assert "<table" in variables["frame"]["data"]["text/html"]
    assert set(variables["none"]) == {"error"}


async def test_a_failing_notebook_in_r(exec_api: ExecApi, ir_kernel: str) -> None:
    """An R error is the record's error, and what was computed before comes out."""
    exec_api.write_notebook("r.ipynb", "x <- 7", "stop('no')", **language_metadata(ir_kernel))

    record = await exec_api.run("r.ipynb", variable_names=["x"])

    assert record["state"] == "failed"
    assert record["error"]["code"] == "CodeError"
    assert "no" in record["error"]["evalue"]
    assert record["result"]["variables"]["x"]["json"] == 7


async def test_a_value_in_r(exec_api: ExecApi, ir_kernel: str) -> None:
    """R shows it as it shows anything; printed text and an assignment are none."""
    for code, text in (("x <- 4; x + 1", "[1] 5"), ("x <- 1", None), ("cat('x')", None)):
        result = (await exec_api.run_code(code, session_name="r", kernel_name=ir_kernel))["result"]
        assert result.get("value_data", {}).get("text/plain") == text


async def test_a_notebook_in_bash(exec_api: ExecApi, bash_kernel: str) -> None:
    """bash: inputs are variables, strings and arrays come out."""
    exec_api.write_notebook(
        "sh.ipynb",
        'echo "hello $NAME"; list=(a "b c"); greeting="$NAME!"; fixed="$FIXED"',
        **language_metadata(bash_kernel),
    )

    record = await exec_api.run(
        "sh.ipynb",
        inputs={"NAME": "w'or\"ld $(x)", "FIXED": "input"},
        variable_names=["list", "greeting", "fixed", "none"],
    )

    variables = record["result"]["variables"]
    assert record["state"] == "succeeded"
    assert record["result"]["stdout"] == "hello w'or\"ld $(x)\n"
    assert variables["list"]["json"] == ["a", "b c"]
    assert variables["greeting"]["json"] == "w'or\"ld $(x)!"
    assert variables["fixed"]["json"] == "input"
    assert set(variables["none"]) == {"error"}


async def test_a_language_that_is_not_in_the_table(exec_api: ExecApi, jp_data_dir: Path) -> None:
    """Its notebooks run; its variables say why they cannot be read; its own names stay its own."""
    argv = [sys.executable, "-m", "pytest_jupyter.echo_kernel", "-f", "{connection_file}"]
    install_kernel(jp_data_dir, "test-echo", argv, "echo", FIXED="spec")
    exec_api.write_notebook("e.ipynb", "hello", **language_metadata("test-echo"))

    record = await exec_api.run("e.ipynb", variable_names=["x"])
    refused = await exec_api.request(
        "POST",
        "executions",
        json={"notebook": {"path": "e.ipynb"}, "inputs": {"FIXED": "input"}},
    )

    assert record["state"] == "succeeded"
    assert "echo" in record["result"]["variables"]["x"]["error"]
    assert refused.status == 422
    assert refused.json["target"] == "inputs.FIXED"
