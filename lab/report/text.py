"""Plain text: what people typed, made safe to print.

A post's title, a scenario's name or a log line may hold an escape sequence that drives the
terminal, a bidirectional control that turns a line round, or square brackets that Rich takes for
markup. `plain` takes the first two out; the third is harmless as soon as nobody parses it, which is
why `styled` gives a `Text` (never markup) and nothing is escaped.
"""

import re

from rich.text import Text

_ESCAPES = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC: window titles, clipboard, links
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c]*(?:\x1b\\|\x9c)?"  # other control strings
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|\x1b[ -/]*[0-~]?"  # everything else that ESC begins
)
_BLANKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidi
    r"\U000e0000-\U000e007f\ud800-\udfff]"  # tags, lone surrogates
)


def plain(text: str, limit: int | None = None) -> str:
    """`text` on one line, without anything that isn't seen; cut to `limit` characters."""
    shown = _UNSEEN.sub("", _BLANKS.sub(" ", _ESCAPES.sub("", text))).strip()
    if limit is not None and len(shown) > limit:
        return shown[: limit - 1].rstrip() + "…"
    return shown


def styled(text: str, style: str = "", limit: int | None = None) -> Text:
    """`plain(text)` as a Rich `Text`: square brackets in it stay square brackets."""
    return Text(plain(text, limit), style=style)
