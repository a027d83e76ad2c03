"""Formats figures for reports: few digits, and a share is never rounded to all or to none.

99.96 % is shown as 99.9 %, and a missing measurement is `-`, not 0. `TextFormat` knows what the
output can show. If the output has no box drawing and no ticks, ASCII signs replace them; no meaning
depends on a glyph or a colour alone.
"""

import math
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from lab.results.result import NEVER, ExpectationVerdict, TimelineWindow
from lab.support.text import plain, to_ascii

NONE = "-"

VERDICT_SIGNS: dict[ExpectationVerdict, tuple[str, str, str]] = {
    "holds": ("✓", "+", "green"),
    "fails": ("✗", "x", "bold red"),
    "not measured": ("?", "?", "yellow"),
}
"""The sign of each verdict, its replacement in ASCII, and its Rich style."""


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The abilities of an output: its character set and its width in columns."""

    ascii_only: bool
    width: int

    @classmethod
    def for_console(cls, console: Console) -> "TextFormat":
        return cls(console.options.ascii_only, console.width)

    def plain(self, text: str, limit: int | None = None) -> str:
        """User-written `text` in characters that the output can show, cut to `limit` characters."""
        cleaned = plain(text, limit)
        if not self.ascii_only:
            return cleaned
        narrow = to_ascii(cleaned)
        return narrow if limit is None else narrow[:limit]

    def text(self, text: str, style: str = "", limit: int | None = None) -> Text:
        """`plain(text, limit)` as a Rich `Text`; square brackets in it are not markup."""
        return Text(self.plain(text, limit), style=style)

    def verdict(self, verdict: ExpectationVerdict) -> Text:
        """The verdict as a sign and a word; the colour only repeats them."""
        sign, ascii_sign, style = VERDICT_SIGNS[verdict]
        return Text(f"{ascii_sign if self.ascii_only else sign} {verdict}", style=style)


def success(share: float | None) -> str:
    """A share from 0 to 1 as a percentage; only 1 is `100 %`, and 0.9996 is `99.9 %`."""
    if share is None:
        return NONE
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    tenths = min(round(share * 1_000), 999)
    return f"{tenths / 10:.1f} %" if tenths else "<0.1 %"


def ms(value: float | None) -> str:
    """Milliseconds: one decimal below 10, whole seconds from 100,000 ms on (`100s`)."""
    if value is None:
        return NONE
    if math.isinf(value):
        return NEVER
    if value < 9.95:
        return f"{value:.1f}"
    return f"{value:.0f}" if value < 99_999.5 else f"{value / 1_000:.0f}s"


def short_ms(value: float | None) -> str:
    """Milliseconds in at most four columns: whole seconds from 10,000 ms on (`10s`)."""
    return (
        ms(value)
        if value is None or value < 9_999.5 or math.isinf(value)
        else f"{value / 1_000:.0f}s"
    )


def seconds(value: float | None) -> str:
    """Seconds as `0.4 s`; infinity is `never`."""
    return NONE if value is None else NEVER if math.isinf(value) else f"{value:.1f} s"


def count(value: int | None) -> str:
    """A whole number; `-` for None."""
    return NONE if value is None else str(value)


def evidence(value: object) -> str:
    """Evidence on one line: a dict as `key value, ...`, a float with six significant digits."""
    if isinstance(value, dict):
        return ", ".join(
            f"{str(key).replace('_', ' ')} {evidence(item)}"
            for key, item in value.items()
            if item != {}
        )
    if isinstance(value, list | tuple):
        return " ".join(evidence(item) for item in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NONE}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def fault_setting(name: str, value: object) -> str:
    """One option of a fault: `ms 300`, or `per event` for one that is only on or off."""
    if value is True:
        return name.replace("_", " ")
    return f"{name} {f'{value:g}' if isinstance(value, float) else value}"


def fault_window(window: TimelineWindow) -> str:
    """A fault window in words: `comments latency (ms 300)`."""
    settings = ", ".join(fault_setting(name, value) for name, value in window.settings.items())
    return f"{window.target} {window.kind}" + (f" ({settings})" if settings else "")
