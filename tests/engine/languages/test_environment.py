"""Environment variables, in every kernel."""

from hypothesis import given, settings

from jupyter_exec_ext.engine.languages import Request
from tests.engine.languages.conftest import KernelUnderTest, environment_of
from tests.engine.languages.samples import HARD_NAMES, HARD_VALUES, one_kernel_for_all, unicode_text

FORGET = {
    "python": "import sys; del sys._jupyter_exec_ext_environment",
    "r": "options(jupyter_exec_ext.environment = NULL)",
    "bash": "unset __jupyter_exec_ext_environment",
}
"""What makes a kernel take the environment as it is for the one it had."""


def give(kernel: KernelUnderTest, name: str, value: str) -> None:
    """Set a variable as if the kernel had had it from its start."""
    kernel.set_environment(**{name: value})
    kernel.run(FORGET[kernel.language.name])


def test_environment_values_keep_every_byte(kernel: KernelUnderTest) -> None:
    kernel.set_environment(**HARD_VALUES)

    assert environment_of(kernel, *HARD_VALUES) == HARD_VALUES

    kernel.restore_environment()
    assert set(environment_of(kernel, *HARD_VALUES).values()) == {None}


def test_a_large_environment_value_arrives(kernel: KernelUnderTest) -> None:
    value = ("0123456789abcde\n" * 6_400)[:-1] + "\n"
    kernel.set_environment(LARGE=value)

    assert environment_of(kernel, "LARGE") == {"LARGE": value}

    kernel.restore_environment()


def test_restoring_gives_the_former_values_once(kernel: KernelUnderTest) -> None:
    """The oldest values come back, and a second restore changes nothing."""
    former = "former 'value'\n$(x)\n"
    give(kernel, "KEPT", former)

    kernel.set_environment(KEPT="one", FRESH="1")
    kernel.set_environment(KEPT="two", OTHER="2")
    assert environment_of(kernel, "KEPT", "FRESH", "OTHER") == {
        "KEPT": "two",
        "FRESH": "1",
        "OTHER": "2",
    }
    kernel.restore_environment()

    assert environment_of(kernel, "KEPT", "FRESH", "OTHER") == {
        "KEPT": former,
        "FRESH": None,
        "OTHER": None,
    }
    give(kernel, "KEPT", former + "again")
    kernel.restore_environment()
    assert environment_of(kernel, "KEPT") == {"KEPT": former + "again"}


def test_setting_shows_nothing(kernel: KernelUnderTest) -> None:
    for request in (
        kernel.language.set_environment({"QUIET": "secret"}),
        kernel.language.restore_environment(),
    ):
        kernel.send(request)

        assert {kind for kind, _ in kernel.published} <= {"execute_input"}


def test_the_namespace_stays_as_it_was(kernel: KernelUnderTest) -> None:
    names = {
        "python": "print([n for n in sorted(globals()) if not n.strip('_i0123456789') == ''])",
        "r": "cat(ls(all.names = TRUE))",
        "bash": "compgen -A variable | grep -vE '^(BASH_|RANDOM|_$|PIPESTATUS)'; declare -F",
    }[kernel.language.name]
    kernel.run(names)
    before = kernel.run(names)

    kernel.set_environment(TEMPORARY="1")
    kernel.read("nothing", "before", *HARD_NAMES)
    kernel.restore_environment()

    assert kernel.run(names) == before


@one_kernel_for_all
@given(value=unicode_text)
def test_any_environment_value_arrives_in_python(
    python_kernel: KernelUnderTest, value: str
) -> None:
    check_environment(python_kernel, value)


@one_kernel_for_all
@given(value=unicode_text)
def test_any_environment_value_arrives_in_r(r_kernel: KernelUnderTest, value: str) -> None:
    check_environment(r_kernel, value)


@settings(one_kernel_for_all, max_examples=10)
@given(value=unicode_text)
def test_any_environment_value_arrives_in_bash(bash_kernel: KernelUnderTest, value: str) -> None:
    check_environment(bash_kernel, value)


def check_environment(kernel: KernelUnderTest, value: str) -> None:
    kernel.set_environment(HYPOTHESIS=value)
    assert environment_of(kernel, "HYPOTHESIS") == {"HYPOTHESIS": value}
    kernel.restore_environment()


def test_a_variable_can_be_taken_out_and_comes_back(kernel: KernelUnderTest) -> None:
    """Whichever way it was changed before that, and whether it was there at all."""
    give(kernel, "KEPT", "former 'value'\n")
    kernel.set_environment(KEPT=None, ABSENT=None, TURNED="1", BACK=None)
    kernel.set_environment(TURNED=None, BACK="2")

    assert environment_of(kernel, "KEPT", "ABSENT", "TURNED", "BACK") == {
        "KEPT": None,
        "ABSENT": None,
        "TURNED": None,
        "BACK": "2",
    }
    kernel.restore_environment()

    assert environment_of(kernel, "KEPT", "ABSENT", "TURNED", "BACK") == {
        "KEPT": "former 'value'\n",
        "ABSENT": None,
        "TURNED": None,
        "BACK": None,
    }


def test_the_environment_is_restored_after_a_failure(kernel: KernelUnderTest) -> None:
    give(kernel, "KEPT", "former")
    kernel.set_environment(KEPT=None, FRESH="1")
    code = {"python": "1 / 0", "r": "stop('no')", "bash": "false"}[kernel.language.name]
    assert kernel.send(Request(code=code, silent=False)).content["status"] == "error"

    kernel.restore_environment()

    assert environment_of(kernel, "KEPT", "FRESH") == {"KEPT": "former", "FRESH": None}


def test_the_environment_is_restored_after_an_interrupt(kernel: KernelUnderTest) -> None:
    give(kernel, "KEPT", "former")
    kernel.set_environment(KEPT=None, FRESH="1")
    code = {
        "python": "print('on', 'it')\nwhile True: pass",
        "r": "cat('on', 'it\\n'); flush.console(); repeat Sys.sleep(0.01)",
        "bash": "echo on  it; while :; do sleep 0.1; done",
    }[kernel.language.name]
    message_id = kernel.start(Request(code=code, silent=False))
    kernel.wait_for(message_id, "'text': 'on it")
    kernel.manager.interrupt_kernel()
    # An interrupt at the wrong moment costs a kernel of bash its reply.
    kernel.wait_for(message_id, "'execution_state': 'idle'")

    kernel.restore_environment()

    assert environment_of(kernel, "KEPT", "FRESH") == {"KEPT": "former", "FRESH": None}
