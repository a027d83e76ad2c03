"""Reads a page of metrics, and fails where promtool would."""

import re

from lab.support.exposition import BUCKETS_S

LABEL = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*"'
LINE = re.compile(rf"([a-zA-Z_:][\w:]*)(?:\{{((?:{LABEL})(?:,{LABEL})*)\}})? (\S+)")
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(page: str) -> Series:
    """The samples of a page. Fails where promtool would: order, types, names, doubles, buckets."""
    found: Series = {}
    kinds: dict[str, str] = {}
    current = ""
    assert page.endswith("\n")
    for line in page.splitlines():
        if line.startswith("# HELP "):
            current = line.split(" ")[2]
            assert current not in kinds, f"{current} has two groups"
            assert len(line.split(" ", 3)[3]) > 5
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current
            kinds[name] = kind
        else:
            match = LINE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert current in ((name, base) if kinds[current] == "histogram" else (name,)), line
            assert kinds[current] != "counter" or name.endswith("_total")
            key = (name, frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")))
            assert key not in found, f"{key} twice"
            found[key] = float(value)
    check_histograms(found)
    return found


def check_histograms(found: Series) -> None:
    buckets: dict[tuple[str, frozenset[tuple[str, str]]], dict[float, float]] = {}
    for (name, labels), value in found.items():
        if name.endswith("_bucket"):
            (end,) = (float(value) for key, value in labels if key == "le")
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            buckets.setdefault((name.removesuffix("_bucket"), rest), {})[end] = value
    for (name, labels), counts in buckets.items():
        ends = sorted(counts)
        assert ends == [*BUCKETS_S, float("inf")]
        values = [counts[end] for end in ends]
        assert values == sorted(values), "buckets are cumulative"
        assert values[-1] == found[f"{name}_count", labels]


def of(found: Series, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (each, has), value in found.items() if each == name and wanted <= has)
