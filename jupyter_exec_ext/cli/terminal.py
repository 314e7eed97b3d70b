"""Makes text safe for a terminal: control characters and markup are shown and have no effect.

Every text that the command line shows comes from here: from `printable`, from `TerminalText` for
what code prints, and through `SafeConsole`, which checks once more what rich renders.
"""

import re
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

# Control characters (C0 without tab and line feed, DEL, C1), the separators of lines and
# paragraphs, what overrides the direction of text, and surrogates, which cannot be encoded.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOUR = re.compile(r"(\x1b\[[0-9;:]{0,64}m)")
_COLOUR_RESET = re.compile(r"\x1b\[[0;]*m")
_LINE_STEERING = re.compile(r"([\r\b]|\x1b\[[0-2]?K)")
_UNFINISHED = re.compile(r"(?:\r|\x1b(?:\[[0-9;:]{0,64})?)\Z")

_RESET = "\x1b[0m"


def printable(text: str, *, lines: bool = False, colours: bool = False) -> str:
    r"""Return *text* with its control characters as escapes, such as ``\x1b`` or ``\u202e``.

    Args:
        lines: Whether it is text of several lines, as code prints it. Then line feeds stay, and
            sequences that only set colours and weight are removed.
        colours: With *lines*: keep these sequences.
    """
    if not lines:
        return _shown(text).replace("\n", r"\n")
    pieces = _COLOUR.split(text.replace("\r\n", "\n"))
    # The odd ones are colours.
    pieces[::2] = map(_shown, pieces[::2])
    return "".join(pieces if colours else pieces[::2])


def one_line(text: str) -> str:
    """Return the printable *text* in one line, with a blank for each white space."""
    return " ".join(printable(text, lines=True).split())


def output_text(text: str) -> str:
    """Return what `TerminalText` makes of the whole of what code printed."""
    terminal = TerminalText()
    return terminal.feed(text) + terminal.end()


class TerminalText:
    """Makes what code prints safe for a terminal, although it arrives in pieces.

    Colours stay, and so does what moves within a line, which progress bars need.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._is_coloured = False

    def feed(self, text: str) -> str:
        """Return the text that can be shown so far."""
        text = self._rest + text
        unfinished = _UNFINISHED.search(text)
        end = len(text) if unfinished is None else unfinished.start()
        self._rest = text[end:]
        return self._safe(text[:end])

    def end(self) -> str:
        """Return the rest, with the colours reset."""
        rest, self._rest = self._rest, ""
        return self._safe(rest) + self.reset()

    def reset(self) -> str:
        """Return what resets the colours, so that they do not reach other lines."""
        is_coloured, self._is_coloured = self._is_coloured, False
        return _RESET if is_coloured else ""

    def _safe(self, text: str) -> str:
        colours = _COLOUR.findall(text)
        if colours:
            self._is_coloured = not _COLOUR_RESET.fullmatch(colours[-1])
        pieces = _LINE_STEERING.split(text.replace("\r\n", "\n"))
        pieces[::2] = [printable(piece, lines=True, colours=True) for piece in pieces[::2]]
        return "".join(pieces)


class SafeConsole(Console):
    """A console to which no text is markup or a control sequence, whatever prints it.

    A closed pipe is left to `main`. Rich would exit with 1, which has another meaning here.
    """

    @property
    def reaches_terminal(self) -> bool:
        """Whether a terminal interprets what is written, also if an option of rich denies it."""
        return self.is_terminal or self.file.isatty()

    def render_str(self, text: str, **options: Any) -> Text:
        """Return *text* as it is, without a search for markup, emoji codes and numbers."""
        used = {name: options[name] for name in ("style", "justify", "overflow") if name in options}
        return Text(printable(text, lines=True), **used)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the segments of *renderable*; control characters only where rich steers."""
        for segment in super().render(renderable, options):
            if segment.control or not _STEERING.search(segment.text):
                yield segment
            else:
                yield segment._replace(text=_shown(segment.text))

    def on_broken_pipe(self) -> None:
        """Raise for `main`."""
        raise BrokenPipeError


def _shown(text: str) -> str:
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
