"""The colour, shape and dash of each variant, and the CSS of all charts.

The colours are those of Okabe and Ito's palette (Color Universal Design, 2008), which colour-blind
readers can distinguish; a colour with too little contrast is replaced by a darker or lighter one of
the same hue. Each line also differs in dash and shape, so colour is never the only difference.
The contrast with the background is at least 3 : 1, and text is never coloured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.results.result import Variant

GROUND = {"light": "#FFFFFF", "dark": "#0F172A"}
INKS: dict[str, dict[str, str]] = {
    "chain": {"light": "#B84F00", "dark": "#E69F00"},
    "bus": {"light": "#0072B2", "dark": "#56B4E9"},
    "green": {"light": "#007A5A", "dark": "#2CC295"},
    "purple": {"light": "#A0527D", "dark": "#CC79A7"},
    "yellow": {"light": "#6E6400", "dark": "#F0E442"},
    "plain": {"light": "#000000", "dark": "#FFFFFF"},
}
_GREYS = {
    "ink": {"light": "#1E293B", "dark": "#E2E8F0"},
    "soft": {"light": "#475569", "dark": "#A9B6C8"},
    "grid": {"light": "#E2E8F0", "dark": "#2B3950"},
    "edge": {"light": "#94A3B8", "dark": "#64748B"},
    "ground": GROUND,
}

_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 4")
_SHAPES = (
    "m-2.4 0a2.4 2.4 0 1 0 4.8 0a2.4 2.4 0 1 0-4.8 0",  # a disc
    "m-2.2-2.2h4.4v4.4h-4.4z",  # a square
    "m0-3l2.9 5.2h-5.8z",  # a triangle
    "m0-3.2l3.2 3.2l-3.2 3.2l-3.2-3.2z",  # a diamond
    "m0 3l2.9-5.2h-5.8z",  # a triangle, point down
    "m-3-1h2v-2h2v2h2v2h-2v2h-2v-2h-2z",  # a plus
)
CROSS = "m-2.5-2.5l5 5m0-5l-5 5"
"""The shape of a failed request, for every variant."""


@dataclass(frozen=True, slots=True)
class Hand:
    """How one variant is drawn: colour name, dash number, SVG path of the shape."""

    variant: str
    ink: str
    dash: int
    shape: str

    def kind(self, what: str) -> str:
        """The CSS classes of an element of this variant; `what` is `line`, `dot`, `fill`, ..."""
        return f"{what} i-{self.ink}" + (f" d{self.dash}" if what == "line" else "")


def hands(variants: Sequence[Variant]) -> list[Hand]:
    """The style of each variant, in order.

    The first `sync-chain` and the first `async-bus` get the colours that the whole lab uses for
    them; the other variants get the remaining colours.
    """
    own = {"sync-chain": "chain", "async-bus": "bus"}
    taken: dict[int, str] = {}
    for number, variant in enumerate(variants):
        ink = own.get(variant.arrangement)
        if ink and ink not in taken.values():
            taken[number] = ink
    left = [ink for ink in INKS if ink not in taken.values()] or list(INKS)
    for number in range(len(variants)):
        if number not in taken:
            taken[number] = left.pop(0) if len(left) > 1 else left[0]
    return [
        Hand(one.name, taken[number], number % len(_DASHES), _SHAPES[number % len(_SHAPES)])
        for number, one in enumerate(variants)
    ]


def _values(ground: str) -> str:
    return "".join(f"--{name}:{shades[ground]};" for name, shades in (_GREYS | INKS).items())


def _style() -> str:
    inks = "".join(f".lab-chart .i-{name}{{--i:var(--{name})}}" for name in INKS)
    dashes = "".join(
        f".lab-chart .d{number}{{stroke-dasharray:{dash}}}"
        for number, dash in enumerate(_DASHES)
        if dash
    )
    return (
        f".lab-chart{{{_values('light')}font:12px system-ui,sans-serif;max-width:100%;height:auto}}"
        f"@media screen and (prefers-color-scheme:dark){{.lab-chart{{{_values('dark')}}}}}"
        # The theme of a notebook may differ from the system's.
        f'[data-jp-theme-light="true"] .lab-chart{{{_values("light")}}}'
        f'[data-jp-theme-light="false"] .lab-chart{{{_values("dark")}}}'
        ".lab-chart text{fill:var(--ink)}.lab-chart .soft{fill:var(--soft)}"
        ".lab-chart .small{font-size:11px}.lab-chart .strong{font-weight:600}"
        ".lab-chart .ground{fill:var(--ground)}"
        ".lab-chart .grid{stroke:var(--grid);fill:none}"
        ".lab-chart .edge{stroke:var(--edge);fill:none}"
        ".lab-chart .mark{stroke:var(--soft);fill:none;stroke-dasharray:2 2}"
        ".lab-chart .broken{stroke:var(--edge);stroke-width:1.6;opacity:.55}"
        ".lab-chart .failed{stroke:var(--ink);stroke-width:1.5}"
        ".lab-chart .window{fill:url(#lab-broken)}.lab-chart .lost{fill:url(#lab-failed)}"
        ".lab-chart .line{stroke:var(--i);fill:none;stroke-width:2}"
        ".lab-chart .thin{stroke:var(--i);fill:none;stroke-width:1.3}"
        ".lab-chart .dot{fill:var(--i)}.lab-chart .faint{fill:var(--i);opacity:.4}"
        ".lab-chart .ring{fill:var(--ground);stroke:var(--i);stroke-width:1.6}"
        ".lab-chart .cross{stroke:var(--i);fill:none;stroke-width:1.3}"
        ".lab-chart .fill{fill:var(--i)}"
        f"{inks}{dashes}"
    )


STYLE = _style()
"""CSS of all charts: dark if the reader's system is dark, else light; always light in print."""
