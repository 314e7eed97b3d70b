"""Names and values that are hard to get right, and what Hypothesis makes of them."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

HARD_NAMES = (
    "x); import os; (",
    "$(touch pwned)",
    "`touch pwned`",
    "'; rm -rf pwned; '",
    'a"b',
    "a\\",
    "a b",
    "a[0]",
    "a[$(touch pwned)]",
    "é" * 200,
    "",
    "!!",
    "x\ud800",
    "line\nbreak",
    "__class__.__mro__",
    "-n",
    "%s",
    "{source}",
)

HARD_VALUES = {
    "QUOTES": "'\"`",
    "COMMAND": "'; rm -rf pwned; $(touch pwned) `touch pwned` ${HOME}",
    "NEWLINES": "\n\na\r\nb\n\n\n",
    "TABS": "\t\x1b[31m\x07\x7f",
    "UNICODE": "é漢😀\u2028\u0085",
    "BACKSLASHES": "\\\\n\\",
    "BANG": "!! !$ !-1",
    "EMPTY": "",
    "SPACE": " ",
    "DOT": ".",
    "LATIN": "caf\udce9 \udcff",
    "END": "JUPYTER_EXEC_EXT_END\n",
    "FORMAT": "{source!r} %s %d",
}

unicode_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda items: (
        st.lists(items, max_size=4) | st.dictionaries(st.text(max_size=8), items, max_size=4)
    ),
    max_leaves=12,
)

one_kernel_for_all = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
