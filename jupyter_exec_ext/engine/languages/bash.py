"""bash: bash_kernel, which types each line of a request into a terminal.

So lines are short and hold no tabs, and each one costs about 50 ms. Data comes in a here-document;
answers go out in base64 behind a marker. Aliases and functions of the user are passed by.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jupyter_exec_ext.engine.languages.exchange import (
    Language,
    Reply,
    Request,
    base64_of,
    marked_bytes,
)
from jupyter_exec_ext.engine.languages.guarding import (
    BOOT,
    NO_PYTHON,
    OPTIONS,
    Guarding,
    failing_lines,
    pythons,
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_TERMINAL_NAMES = frozenset({"PROMPT_COMMAND", "PS0", "PS1", "PS2", "TMOUT"})
"""Names that would cut the line between the kernel and its shell."""

_LINE = 3_000
"""Characters of one line of code: the terminal takes 4096 and drops the rest."""

_OUT_LINE = 8_000
"""Characters of one line of the answer: bash_kernel sends a message for each."""

_END = "JUPYTER_EXEC_EXT_END"

# Values must not get into the history, which bash writes to a file at its end. When this runs the
# whole of its command is the newest entry, what it reads included.
_FORGET = (
    rf"if [[ $(HISTTIMEFORMAT= \builtin history 1 2>/dev/null) == *{_END}* ]];"
    r" then \builtin history -d -1 2>/dev/null; fi;"
)

_SET = r"""
__jupyter_exec_ext_set() {
\builtin local __jx_line __jx_value __jx_old __jx_name='' __jx_text='' __jx_status=0;
\builtin declare -gA __jupyter_exec_ext_environment;
while IFS= \builtin read -r __jx_line; do
if [[ $__jx_line == :* ]]; then __jx_name=${__jx_line:1}; __jx_text='';
elif [[ $__jx_line == +* ]]; then __jx_text+=${__jx_line:1};
else
__jx_old=$(\builtin declare -p -- "$__jx_name" 2>/dev/null) || __jx_old=unset;
if [[ ${__jx_old%% "$__jx_name"*} == *' -'*[nr]* ]]; then __jx_status=1; continue; fi;
if [[ -z ${__jupyter_exec_ext_environment[$__jx_name]-} ]]; then
__jupyter_exec_ext_environment[$__jx_name]=$__jx_old;
fi;
\builtin unset -v "$__jx_name" || __jx_status=1;
if [[ $__jx_line == - ]]; then continue; fi;
__jx_value=$(\builtin printf %s "$__jx_text" | \command base64 -d; \builtin printf /);
\builtin declare -gx -- "$__jx_name=${__jx_value%/}" || __jx_status=1;
fi;
done;
\builtin unset -f __jupyter_exec_ext_set;
\builtin return $__jx_status;
};
"""

_RESTORE = r"""
__jupyter_exec_ext_restore() {
\builtin local __jx_name __jx_old __jx_kind;
for __jx_name in "${!__jupyter_exec_ext_environment[@]}"; do
__jx_old=${__jupyter_exec_ext_environment[$__jx_name]};
if \builtin unset -v "$__jx_name" && [[ $__jx_old == 'declare -'* ]]; then
__jx_old=${__jx_old#declare }; __jx_kind=${__jx_old%% *};
\builtin declare -g "$__jx_kind" "$__jx_name";
if [[ $__jx_old == *=* ]]; then \builtin eval "${__jx_old#* }"; fi;
fi;
done;
\builtin unset -v __jupyter_exec_ext_environment;
\builtin unset -f __jupyter_exec_ext_restore;
\builtin return 0;
};
__jupyter_exec_ext_restore
"""

_READ = r"""
( \builtin set +eux;
while IFS= \builtin read -r __jx_name; do
for __jx_hop in 1 2 3 4 5 6 7 8 9; do
__jx_old=$(\builtin declare -p -- "$__jx_name" 2>/dev/null);
__jx_kind=${__jx_old#declare -}; __jx_kind=${__jx_kind%% *};
if [[ $__jx_kind == *n* ]]; then __jx_name=${__jx_old#*=\"}; __jx_name=${__jx_name%\"};
else break; fi;
done;
if [[ $__jx_old == 'declare -'*=* ]]; then \builtin unset -n __jx_ref;
\builtin declare -n __jx_ref=$__jx_name;
else \builtin printf 'missing\0'; continue; fi;
if ( LC_ALL=C; __jx_old="${__jx_ref[*]}"; (( ${#__jx_old} > __LIMIT__ )) ); then
\builtin printf 'large\0%s\0' "$__jx_kind";
elif [[ $__jx_kind == *A* ]]; then
\builtin printf '%s\0' object "${#__jx_ref[@]}" "${!__jx_ref[@]}" "${__jx_ref[@]}";
elif [[ $__jx_kind == *a* ]]; then
\builtin printf '%s\0' array "${#__jx_ref[@]}" "${__jx_ref[@]}";
else \builtin printf '%s\0' string "$__jx_ref"; fi;
done ) <<'__END__' | \command base64 | \command tr -d '\n' | \command fold -w __WIDTH__ |
\command sed 's/^/__MARKER__ /'; \builtin echo
"""

_COMMAND = rf"""
{_FORGET}
( for __jx_python in __PYTHONS__; do
if \builtin command -v -- "$__jx_python" >/dev/null 2>&1; then
\builtin exec "$__jx_python" __OPTIONS__ -c '__BOOT__' 2>/dev/null; fi;
done;
\builtin printf '%s\n' __LINES__; ) <<'__END__'
"""


class Bash(Language):
    """bash_kernel."""

    name = "bash"
    implementations = ("bash_kernel",)
    programs = ("bash_kernel",)
    # Its terminal has to reach the guard with Ctrl-C, and ends it with the kernel.
    guarding = Guarding(own_session=False, watch_stdin=False, chunk_bytes=6_000)

    def run_command(self, blob: str, *, marker: str) -> Request:
        """Start the guard in the foreground of the kernel's terminal, where it prints."""
        code = (
            _packed(_COMMAND)
            .replace("__PYTHONS__", " ".join(f"'{path}'" for path in pythons()))
            .replace("__OPTIONS__", " ".join(OPTIONS))
            .replace("__BOOT__", BOOT)
            .replace(
                "__LINES__", " ".join(f"'{line}'" for line in failing_lines(marker, NO_PYTHON))
            )
            .replace("__END__", _END)
        )
        return _request(code, (*_chunks(blob), "."))

    def _setting(self, variables: Mapping[str, bytes | None]) -> Request:
        lines = []
        for name, value in variables.items():
            if not _NAME.fullmatch(name) or name in _TERMINAL_NAMES:
                raise ValueError("not an environment variable that bash can take")
            lines += [f":{name}", *_value(value)]
        call = f"{_FORGET} __jupyter_exec_ext_set <<'{_END}'"
        return _request(f"{_packed(_SET)}\n{call}", lines)

    def _restoring(self) -> Request:
        return Request(code=_packed(_RESTORE), silent=False)

    def _reading(self, names: tuple[str, ...], max_bytes: int, marker: str) -> Request:
        code = (
            _packed(_READ)
            .replace("__LIMIT__", str(max_bytes))
            .replace("__WIDTH__", str(_OUT_LINE))
            .replace("__MARKER__", marker)
            .replace("__END__", _END)
        )
        # What cannot be a name is asked for as one that nothing has, to keep the order.
        return _request(code, (name if _NAME.fullmatch(name) else "" for name in names))

    def _entries(self, reply: Reply, marker: str, names: tuple[str, ...]) -> Sequence[Any]:
        fields = marked_bytes(reply, marker).decode(errors="surrogateescape").split("\0")
        entries = list(_described(iter(fields[:-1])))
        for index, name in enumerate(names):
            if not _NAME.fullmatch(name):
                entries[index] = {"problem": "impossible"}
        return entries


def _described(fields: Iterator[str]) -> Iterator[dict[str, str]]:
    for kind in fields:
        match kind:
            case "string":
                yield _entry("string", next(fields))
            case "array":
                yield _entry("array", _take(fields, int(next(fields))))
            case "object":
                count = int(next(fields))
                keys = _take(fields, count)
                pairs = dict(zip(keys, _take(fields, count), strict=True))
                yield _entry("associative array", pairs)
            case "large":
                flags = next(fields)
                kind = "associative array" if "A" in flags else "array" if "a" in flags else ""
                yield {"type": kind or "string", "problem": "large"}
            case "missing":
                yield {"problem": "missing"}
            case _:
                raise ValueError("the reading is damaged")


def _entry(type_name: str, value: object) -> dict[str, str]:
    return {"type": type_name, "json": json.dumps(value, separators=(",", ":"))}


def _take(fields: Iterator[str], count: int) -> list[str]:
    return [next(fields) for _ in range(count)]


def _request(code: str, lines: Iterable[str]) -> Request:
    return Request(code="\n".join((code, *lines, _END)), silent=False)


def _packed(source: str) -> str:
    """Return *source* in as few lines as may be; each line of it can be joined to the next."""
    packed: list[str] = []
    for line in source.strip().splitlines():
        if packed and len(packed[-1]) + len(line) < _LINE:
            packed[-1] += f" {line}"
        else:
            packed.append(line)
    return "\n".join(packed)


def _value(raw: bytes | None) -> Iterator[str]:
    if raw is None:
        yield "-"
    else:
        yield from (f"+{chunk}" for chunk in _chunks(base64_of(raw)))
        yield "."


def _chunks(text: str) -> Iterator[str]:
    return (text[start : start + _LINE] for start in range(0, len(text), _LINE))
