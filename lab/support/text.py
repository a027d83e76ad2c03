"""Text: user input made safe to print, and suggestions for misspelled names.

A post's title, a scenario's name or a log line may contain an escape sequence that controls the
terminal, a bidirectional control that reverses a line, or square brackets that Rich takes for
markup. `plain` removes the first two. The brackets are harmless unless the text is parsed as
markup, so `styled` returns a `Text` (never markup) and nothing is escaped.
"""

import difflib
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

# ── Safe text

_ESCAPES = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC: window titles, clipboard, links
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c]*(?:\x1b\\|\x9c)?"  # other control strings
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|\x1b[ -/]*[0-~]?"  # everything else that ESC begins
)
_BLANKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_INVISIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidi
    r"\U000e0000-\U000e007f\ud800-\udfff]"  # tags, lone surrogates
)

_ASCII = str.maketrans(
    dict(zip("–—−×’·✓✗▲►◄│┃┆─╌┬├└●○■✕•", "---x'.+x+><||:-.+++oO#x*", strict=True))
    | {"…": "...", "≥": ">=", "≤": "<="}
)


def to_ascii(text: str) -> str:
    """`text` for an output that shows only ASCII: signs and lines have similar ones."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def shell_word(text: object) -> str:
    """`text` as one word of a command that people paste into a shell."""
    return shlex.quote(str(text))


def plain(text: str, limit: int | None = None) -> str:
    """`text` on one line, without invisible characters; cut to `limit` characters."""
    cleaned = _INVISIBLE.sub("", _BLANKS.sub(" ", _ESCAPES.sub("", text))).strip()
    if limit is not None and len(cleaned) > limit:
        return cleaned[: limit - 1].rstrip() + "…"
    return cleaned


def styled(text: str, style: str = "", limit: int | None = None) -> "Text":
    """`plain(text)` as a Rich `Text`: square brackets in it stay square brackets."""
    from rich.text import Text  # not at the top: services import this module, but not Rich

    return Text(plain(text, limit), style=style)


# ── Suggestions


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A sentence with the nearest known name, or with all of them."""
    names = list(known)
    matches = [name for name in names if len(given) > 2 and name.startswith(given)]
    matches = matches or difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return f"Did you mean {matches[0]!r}?" if matches else f"Known: {', '.join(names)}."
