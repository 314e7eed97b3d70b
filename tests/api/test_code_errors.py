"""The message of a failure is what the kernel published, whatever its reply says."""

from tests.conftest import ExecApi

NO_REPR = "class A:\n    def __repr__(self): raise RuntimeError('no repr')\nA()"
NO_HTML = "class B:\n    def _repr_html_(self): raise ValueError('no html')\nB()"


async def test_an_object_that_cannot_be_shown(exec_api: ExecApi) -> None:
    """ipykernel replies with `NoneType` and `None` when the display hook failed."""
    session = await exec_api.new_session()
    expected = {
        NO_REPR: ("RuntimeError", "no repr"),
        NO_HTML: ("ValueError", "no html"),
        "1/0": ("ZeroDivisionError", "division by zero"),
        "raise KeyError": ("KeyError", ""),
        "%edit -x": ("UsageError", 'option -x not recognized (allowed: "prn:")'),
        # An error that was only shown is not why the next one failed.
        "try: 1/0\nexcept ArithmeticError: get_ipython().showtraceback()\nint('x')": (
            "ValueError",
            "invalid literal for int() with base 10: 'x'",
        ),
    }

    for code, (ename, evalue) in expected.items():
        error = (await exec_api.run_code(code, session_id=session["id"]))["error"]

        assert (error["ename"], error["evalue"]) == (ename, evalue)
        assert error["message"] == (f"{ename}: {evalue}" if evalue else ename)
        assert ename in error["traceback_text"] or ename == "UsageError"


async def test_a_bash_cell_that_fails(exec_api: ExecApi, bash_kernel: str) -> None:
    """bash_kernel publishes the exit status as the value of an error without a name."""
    record = await exec_api.run_code("ls /no/such/file", kernel_name=bash_kernel)

    assert record["error"]["message"] == "exit status 2"
    assert record["error"]["exit_code"] == 2


async def test_an_error_of_r(exec_api: ExecApi, ir_kernel: str) -> None:
    """Its message ends without the line break that R adds."""
    record = await exec_api.run_code("f <- function() stop('no data'); f()", kernel_name=ir_kernel)

    assert record["error"]["message"] == "ERROR: Error in f(): no data"
    assert "f()" in record["error"]["traceback_text"]
