"""How a figure is written: with the digits it deserves, and never better than it was.

99.96 % is not 100 %, and nothing measured is `-` and not 0. `Look` knows what the output can show:
where it has no box drawing and no ticks, words and ASCII signs stand in, so that nothing depends on
a glyph any more than on a colour.
"""

import math
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from lab.results.result import Verdict
from lab.support.text import plain

NONE = "-"
WELL = 0.99
"""The share of good answers from which a cell isn't marked any more."""

_SIGNS: dict[Verdict, tuple[str, str, str]] = {
    "holds": ("✓", "+", "green"),
    "fails": ("✗", "x", "bold red"),
    "not measured": ("?", "?", "yellow"),
}
_IN_ASCII = str.maketrans(
    {"…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "≥": ">=", "≤": "<=", "’": "'", "·": "."}
)


@dataclass(frozen=True, slots=True)
class Look:
    """What the output can show, and how wide it is (columns)."""

    ascii_only: bool
    width: int

    @classmethod
    def of(cls, console: Console) -> "Look":
        return cls(console.options.ascii_only, console.width)

    def plain(self, text: str, limit: int | None = None) -> str:
        """Text that people typed, as this output can show it."""
        shown = plain(text, limit)
        if not self.ascii_only:
            return shown
        narrow = shown.translate(_IN_ASCII).encode("ascii", "replace").decode()
        return narrow if limit is None else narrow[:limit]

    def text(self, text: str, style: str = "", limit: int | None = None) -> Text:
        """The same as a Rich `Text`; square brackets stay square brackets."""
        return Text(self.plain(text, limit), style=style)

    def verdict(self, verdict: Verdict) -> Text:
        """A sign and the word for it, coloured: never the colour alone."""
        sign, narrow, style = _SIGNS[verdict]
        return Text(f"{narrow if self.ascii_only else sign} {verdict}", style=style)


def success(share: float | None) -> str:
    """0 to 1 as a percentage, cut and never rounded up: 0.9996 is `99.9 %`."""
    if share is None:
        return NONE
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    tenths = math.floor(share * 1_000 + 1e-9)
    return f"{tenths / 10:.1f} %" if tenths else "<0.1 %"


def share_style(share: float | None) -> str:
    """The style of a success rate; the figure says the same."""
    return "dim" if share is None else "" if share >= WELL else "bold red"


def ms(value: float | None) -> str:
    """Milliseconds: a decimal under 10, seconds where there would be six digits."""
    if value is None:
        return NONE
    if value < 9.95:
        return f"{value:.1f}"
    return f"{value:.0f}" if value < 99_999.5 else f"{value / 1_000:.0f}s"


def short_ms(value: float | None) -> str:
    """The same in four columns: seconds from ten of them on."""
    return ms(value) if value is None or value < 9_999.5 else f"{value / 1_000:.0f}s"


def seconds(value: float | None) -> str:
    """`0.4 s`; infinite is never."""
    return NONE if value is None else "never" if math.isinf(value) else f"{value:.1f} s"


def count(value: int | None) -> str:
    """A whole number, or `-`."""
    return NONE if value is None else str(value)


def evidence(value: object) -> str:
    """A piece of evidence on one line: tables as `key value`, figures with few digits."""
    if isinstance(value, dict):
        parts = (
            f"{str(key).replace('_', ' ')} {evidence(of)}" for key, of in value.items() if of != {}
        )
        return ", ".join(parts)
    if isinstance(value, list | tuple):
        return " ".join(evidence(of) for of in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NONE}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
