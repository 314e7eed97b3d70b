"""What an operator can set of the Qinling dialect."""

import os
from typing import Any

from traitlets import Bool, Float, Integer, TraitError, Unicode, default, validate
from traitlets.config import Configurable

RANGES = ("function_timeout_seconds", "cpu", "memory_size")


class QinlingOptions(Configurable):
    """The settings of the Qinling dialect."""

    project_id = Unicode(
        help="The project that all resources are of. Empty: the name of the hub's user, else"
        " 'default'."
    ).tag(config=True)
    function_timeout_seconds = Float(
        300.0,
        min=0.001,
        help="How long an execution may run whose function names no time itself. Qinling's largest;"
        " its command line names 5 s for each function that it creates.",
    ).tag(config=True)
    min_function_timeout_seconds = Integer(
        1, min=1, help="The shortest time that a function may name."
    ).tag(config=True)
    max_function_timeout_seconds = Integer(
        300, min=1, help="The longest time that a function may name."
    ).tag(config=True)
    default_cpu = Integer(
        100, min=0, help="The `cpu`, in thousandths, of a function that names none."
    ).tag(config=True)
    min_cpu = Integer(100, min=0, help="The least `cpu` that a function may name.").tag(config=True)
    max_cpu = Integer(300, min=0, help="The most `cpu` that a function may name.").tag(config=True)
    default_memory_size = Integer(
        33_554_432, min=0, help="The `memory_size`, in bytes, of a function that names none."
    ).tag(config=True)
    min_memory_size = Integer(
        33_554_432, min=0, help="The least `memory_size` that a function may name."
    ).tag(config=True)
    max_memory_size = Integer(
        134_217_728, min=0, help="The most `memory_size` that a function may name."
    ).tag(config=True)
    sync_wait_seconds = Float(
        600.0,
        min=0.0,
        help="How long a synchronous execution is waited for, and no longer than"
        " ExecApp.max_wait_seconds; then it is answered as running.",
    ).tag(config=True)
    mask_inputs = Bool(
        True,
        help="Whether the input that is shown has *** for values whose name has pass, secret, token"
        " or key in it. What is masked is not stored either.",
    ).tag(config=True)
    max_package_bytes = Integer(
        50 * 1024**2, min=1_000, help="Largest package of a function that is uploaded."
    ).tag(config=True)
    max_packages = Integer(
        4, min=1, help="How many packages are uploaded at the same time; more are refused with 503."
    ).tag(config=True)
    max_functions = Integer(
        1_000, min=1, help="How many notebooks are functions; those near the root come first."
    ).tag(config=True)
    max_folders = Integer(1_000, min=1, help="In how many folders notebooks are looked for.").tag(
        config=True
    )
    max_listed_bytes = Integer(
        32 * 1024**2,
        min=0,
        help="How many bytes of notebooks one list of functions reads, to tell their runtimes;"
        " those that it does not reach are told by a later list.",
    ).tag(config=True)

    @validate(*(f"{end}_{name}" for name in RANGES for end in ("min", "max")))
    def _check_range(self, proposal: Any) -> Any:
        changed, value = proposal["trait"].name, proposal["value"]
        name = changed.partition("_")[2]
        ends = {end: getattr(self, f"{end}_{name}") for end in ("min", "max")}
        ends[changed.partition("_")[0]] = value
        if ends["min"] > ends["max"]:
            raise TraitError(f"min_{name} is {ends['min']}, and max_{name} only {ends['max']}")
        return value

    @default("project_id")
    def _default_project_id(self) -> str:
        return os.environ.get("JUPYTERHUB_USER") or "default"
