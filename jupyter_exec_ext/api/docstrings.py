"""What docstrings say of types and their fields, in words for clients."""

import inspect
import re

_SECTION = re.compile(r"\n\s*\n(?:Attributes|Args|Raises|Returns):\n", re.MULTILINE)
_ATTRIBUTES = re.compile(r"^Attributes:\n(?P<body>(?:(?:    .*)?\n)*)", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^    (?P<name>\w+): (?P<text>.*(?:\n        .*)*)", re.MULTILINE)


def description_of(kind: type) -> str:
    """Return what the docstring of *kind* says before its sections, as Markdown."""
    return _markdown(_SECTION.split(f"{inspect.cleandoc(kind.__doc__ or '')}\n")[0])


def fields_described(kind: type) -> dict[str, str]:
    """Return what the ``Attributes`` of *kind* and its bases say, as Markdown, by field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        section = _ATTRIBUTES.search(f"{inspect.cleandoc(base.__doc__ or '')}\n")
        if section:
            for match in _ATTRIBUTE.finditer(section["body"]):
                found[match["name"]] = _markdown(match["text"])
    return found


def _markdown(text: str) -> str:
    """Return *text* on one line per paragraph; what is ``None`` in Python is absent in JSON."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    text = text.replace("``None``", "absent").replace("``", "`")
    return text[:1].upper() + text[1:]
