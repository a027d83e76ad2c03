"""The colour, shape and dash of each variant, and the CSS of all charts.

The colours are those of Okabe and Ito's palette (Color Universal Design, 2008), which colour-blind
readers can distinguish; a colour with too little contrast is replaced by a darker or lighter one of
the same hue. Each line also differs in dash and shape, so colour is never the only difference.
The contrast with the background is at least 3 : 1, and text is never coloured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.results.result import VariantResult

BACKGROUND = {"light": "#FFFFFF", "dark": "#0F172A"}
COLOURS: dict[str, dict[str, str]] = {
    "chain": {"light": "#B84F00", "dark": "#E69F00"},
    "bus": {"light": "#0072B2", "dark": "#56B4E9"},
    "green": {"light": "#007A5A", "dark": "#2CC295"},
    "purple": {"light": "#A0527D", "dark": "#CC79A7"},
    "yellow": {"light": "#6E6400", "dark": "#F0E442"},
    "plain": {"light": "#000000", "dark": "#FFFFFF"},
}
_NEUTRALS = {
    "ink": {"light": "#1E293B", "dark": "#E2E8F0"},
    "soft": {"light": "#475569", "dark": "#A9B6C8"},
    "grid": {"light": "#E2E8F0", "dark": "#2B3950"},
    "edge": {"light": "#94A3B8", "dark": "#64748B"},
    "ground": BACKGROUND,
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
CROSS_SHAPE = "m-2.5-2.5l5 5m0-5l-5 5"
"""The shape of a failed request, for every variant."""


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """How one variant is drawn: colour name, dash number, SVG path of the shape."""

    variant: str
    colour: str
    dash: int
    shape: str

    def css_class(self, part: str) -> str:
        """The CSS classes of an element of this variant; `what` is `line`, `dot`, `fill`, ..."""
        return f"{part} i-{self.colour}" + (f" d{self.dash}" if part == "line" else "")


def series_styles(variants: Sequence[VariantResult]) -> list[SeriesStyle]:
    """The style of each variant, in order.

    The first `sync-chain` and the first `async-bus` get the colours that the whole lab uses for
    them; the other variants get the remaining colours.
    """
    twin_colours = {"sync-chain": "chain", "async-bus": "bus"}
    colours: dict[int, str] = {}
    for number, variant in enumerate(variants):
        colour = twin_colours.get(variant.arrangement)
        if colour and colour not in colours.values():
            colours[number] = colour
    remaining = [name for name in COLOURS if name not in colours.values()] or list(COLOURS)
    for number in range(len(variants)):
        if number not in colours:
            colours[number] = remaining.pop(0) if len(remaining) > 1 else remaining[0]
    return [
        SeriesStyle(
            variant.name, colours[number], number % len(_DASHES), _SHAPES[number % len(_SHAPES)]
        )
        for number, variant in enumerate(variants)
    ]


def _css_variables(theme: str) -> str:
    return "".join(f"--{name}:{shades[theme]};" for name, shades in (_NEUTRALS | COLOURS).items())


def _css() -> str:
    colour_rules = "".join(f".lab-chart .i-{name}{{--i:var(--{name})}}" for name in COLOURS)
    dash_rules = "".join(
        f".lab-chart .d{number}{{stroke-dasharray:{dash}}}"
        for number, dash in enumerate(_DASHES)
        if dash
    )
    return (
        f".lab-chart{{{_css_variables('light')}"
        "font:12px system-ui,sans-serif;max-width:100%;height:auto}"
        f"@media screen and (prefers-color-scheme:dark){{.lab-chart{{{_css_variables('dark')}}}}}"
        # The theme of a notebook may differ from the system's.
        f'[data-jp-theme-light="true"] .lab-chart{{{_css_variables("light")}}}'
        f'[data-jp-theme-light="false"] .lab-chart{{{_css_variables("dark")}}}'
        ".lab-chart text{fill:var(--ink)}.lab-chart .soft{fill:var(--soft)}"
        ".lab-chart .small{font-size:11px}.lab-chart .strong{font-weight:600}"
        ".lab-chart .ground{fill:var(--ground)}"
        ".lab-chart .halo{paint-order:stroke;stroke:var(--ground);stroke-width:4px}"
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
        f"{colour_rules}{dash_rules}"
    )


STYLE = _css()
"""CSS of all charts: dark if the reader's system is dark, else light; always light in print."""
