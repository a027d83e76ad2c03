"""A chart shows what was measured, also says it in words, and is a pure drawing."""

import io
import re
from collections.abc import Sequence
from math import log10
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from lab.experiment.lag import read_lag
from lab.load.samples import Sample
from lab.report.charts import Chart, ChartData, charts
from lab.report.charts.colours import BACKGROUND, COLOURS, series_styles
from lab.report.charts.data import time_axis
from lab.report.charts.svg import Scale, line, linear, logarithmic
from lab.report.terminal.plots import print_plots
from lab.results.result import (
    FaultEvidence,
    RunResult,
    RunSummary,
    RunTimeline,
    VariantResult,
)
from lab.scenarios import catalogue
from tests.support.kept_runs import BOTH, hostile_result, readings, result, samples, save_run

HOSTILE = "</title></svg><script>alert(1)</script>\"' onload=alert(2) \x1b]0;x\x07\u202e&amp;"
ALL = {
    "latency-over-time",
    "success-over-time",
    "latency-quantiles",
    "answered-visible",
    "lag",
    "predicted-measured",
}
SVG = "{http://www.w3.org/2000/svg}"


def charts_by_name(document: RunResult, data: ChartData) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts(document, data)}


@pytest.fixture(scope="module")
def raw() -> ChartData:
    own = [sample for sample in samples() if sample.phase != "warm_up"]
    return ChartData(tuple(own), tuple(readings()))


@pytest.fixture(scope="module")
def run(raw: ChartData) -> RunResult:
    return result(raw.samples)


def result_with_phases(*phases: str) -> RunResult:
    """A run with several faults one after another; the chain has no bus."""
    run_result = result(samples())
    figures = run_result.variants[0].phases
    own = {
        "before": figures["before"],
        **dict.fromkeys(phases, figures["during"]),
        "after": figures["after"],
    }
    for variant in run_result.variants:
        variant.phases, variant.lag = own, {}
        variant.faults = [
            FaultEvidence(kind="down", target=phase.split()[0], acted=True)
            for phase in phases
            if variant.name == "async-bus" or phase != "event-bus down"
        ]
    return run_result


def tree(chart: Chart, styled: bool = True) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg(styled))


def texts(chart: Chart) -> list[str]:
    return ["".join(element.itertext()) for element in tree(chart).iter(f"{SVG}text")]


def paths(chart: Chart, *classes: str) -> list[str]:
    """The drawing commands of the paths that have all the classes."""
    return [
        element.get("d", "")
        for element in tree(chart).iter(f"{SVG}path")
        if set(classes) <= set(element.get("class", "").split())
    ]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_only_what_was_measured_has_a_chart(run: RunResult, raw: ChartData) -> None:
    def names(raw: ChartData = raw, **changed: object) -> set[str]:
        return set(charts_by_name(run.model_copy(update=changed), raw))

    assert names() == ALL
    assert names(ChartData()) == {"answered-visible", "predicted-measured"}
    assert names(ChartData(raw.samples)) == ALL - {"lag"}
    unknown = run.predictions[0].model_copy(update={"measured": None, "deviation": None})
    no_theory: list[dict[str, object]] = [
        {"predictions": []},
        {"predictions": [unknown]},
        {"valid": False},  # figures of an invalid run are not compared with theory
    ]
    for changed in no_theory:
        assert names(**changed) == ALL - {"predicted-measured"}
    assert "blast-radius" in charts_by_name(
        result_with_phases("posts down", "query down"), ChartData()
    )
    assert charts(RunResult(scenario="x", seed=1, started="", variants=[])) == []


def test_every_chart_has_a_title_and_a_description(run: RunResult, raw: ChartData) -> None:
    for chart in charts(run, raw):
        svg = tree(chart)
        title, description = svg.find(f"{SVG}title"), svg.find(f"{SVG}desc")
        assert title is not None
        assert description is not None
        assert title.text
        assert len(description.text or "") > 40
        assert svg.get("role") == "img"
        assert svg.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert set(re.findall(r"url\((.)", chart.svg())) <= {"#"}, "nothing outside itself"
        assert not re.search(r"href|@import|<image|<use|<foreignObject", chart.svg())


def test_the_description_of_latency_has_the_figures(run: RunResult, raw: ChartData) -> None:
    description = charts_by_name(run, raw)["latency-over-time"].description
    assert "comments latency (ms 300) from 2.0 s to 4.0 s" in description
    assert re.search(r"sync-chain, read_feed, p50: before \d\.\d ms, during 30\d ms", description)


def test_a_slow_hop_is_high_up_for_the_chain_alone(run: RunResult, raw: ChartData) -> None:
    chart = charts_by_name(run, raw)["latency-over-time"]
    chain, bus = (paths(chart, "line", f"i-{ink}")[1] for ink in ("chain", "bus"))
    rise = {
        path: max(y for _, y in points(path)) - min(y for _, y in points(path))
        for path in (chain, bus)
    }
    assert rise[chain] > 50
    assert rise[bus] < 20
    assert chain.count("M") == 3, "broken where a phase begins"


def test_errors_are_crosses_and_stand_apart_from_answers(run: RunResult, raw: ChartData) -> None:
    chart = charts_by_name(run, raw)["latency-over-time"]
    crosses = sum(len(points(path)) for path in paths(chart, "cross", "i-chain"))
    assert crosses == sum(not sample.ok for sample in raw.samples) > 5
    assert "an error, not an answer" in texts(chart)


def window_elements(chart: Chart) -> list[ElementTree.Element]:
    return [
        element for element in tree(chart).iter(f"{SVG}rect") if element.get("class") == "window"
    ]


def test_the_window_of_a_fault_is_drawn_to_scale(run: RunResult, raw: ChartData) -> None:
    chart = charts_by_name(run, raw)["latency-over-time"]
    found = window_elements(chart)
    assert len(found) == 3
    axis = max(points(path)[1][0] for path in paths(chart, "grid"))
    begins, width = (float(found[0].get(name, 0)) for name in ("x", "width"))
    assert width == pytest.approx((axis - 64) / 3, rel=0.01)
    assert axis - begins == pytest.approx(2 * (axis - 64) / 3, rel=0.01)


def test_a_fault_of_one_variant_is_drawn_over_no_other(run: RunResult, raw: ChartData) -> None:
    timeline = run.timeline.model_copy(deep=True)
    timeline.windows[0].variants = ["async-bus"]
    chart = charts_by_name(run.model_copy(update={"timeline": timeline}), raw)["success-over-time"]
    assert len(window_elements(chart)) == 3  # a strip for each kind of request


def test_success_is_as_high_as_its_share_failures_are_hatched(
    run: RunResult, raw: ChartData
) -> None:
    chart = tree(charts_by_name(run, raw)["success-over-time"])
    lost = [element for element in chart.iter(f"{SVG}rect") if element.get("class") == "lost"]
    heights = [float(element.get("height", 0)) for element in lost]
    assert len(lost) > 3
    assert all(0 < height <= 20 for height in heights)
    whole = [s for s in raw.samples if s.variant == "async-bus"]
    assert all(sample.ok for sample in whole)
    blue = [
        element for element in chart.iter(f"{SVG}rect") if "i-bus" in (element.get("class") or "")
    ]
    assert {element.get("height") for element in blue} == {"20"}


def test_a_curve_of_quantiles_ends_where_its_samples_end(run: RunResult, raw: ChartData) -> None:
    chart = charts_by_name(run, raw)["latency-quantiles"]
    ticks = {text for text in texts(chart) if text in ("50 %", "90", "99", "99.9")}
    count = max(
        sum(
            (sample.variant, sample.phase, sample.endpoint) == (*key, "read_feed")
            for sample in raw.samples
        )
        for key in (("sync-chain", "before"), ("async-bus", "during"))
    )
    assert log10(count) < 2
    assert ticks == {"50 %", "90"}


def test_many_phases_are_drawn_as_a_matrix_without_quantiles(raw: ChartData) -> None:
    phases = ("posts down", "comments down", "event-bus down")
    found = charts_by_name(result_with_phases(*phases), raw)
    assert "latency-quantiles" not in found
    shown = texts(found["blast-radius"])
    assert {*phases, "before", "after", "66.7 %"} & set(shown) >= {*phases, "before", "after"}
    assert shown.count("-") == 3  # the chain has no bus


def test_answered_and_visible_are_two_places_on_one_line(run: RunResult, raw: ChartData) -> None:
    chart = charts_by_name(run, raw)["answered-visible"]
    assert any(re.fullmatch(r"30\d → 32\d", text) for text in texts(chart))
    rings = [float(element.get("cx", 0)) for element in tree(chart).iter(f"{SVG}circle")]
    assert len(rings) == 2 * 3 * 2  # two kinds of write, three phases, two variants


def test_lag_rises_and_drains_and_says_how_long_it_took(run: RunResult, raw: ChartData) -> None:
    chart = charts_by_name(run, raw)["lag"]
    heights = [y for _, y in points(paths(chart, "line", "i-bus")[1])]
    top = heights.index(min(heights))
    assert 0 < top < len(heights) - 1
    assert heights[0] == heights[-1] == max(heights)
    assert "async-bus: 40 at most, drained after 1.0 s" in texts(chart)


def test_a_prediction_that_is_far_off_is_said_to_be(run: RunResult, raw: ChartData) -> None:
    far = run.predictions[0].model_copy(
        update={"measured": 30_000.0, "deviation": 99.0, "agrees": False}
    )
    chart = charts_by_name(run.model_copy(update={"predictions": [far]}), raw)["predicted-measured"]
    assert any(text.endswith("further off than is drawn") for text in texts(chart))
    assert paths(chart, "ring", "i-plain")
    assert not paths(chart, "fill", "i-plain")


def test_what_people_typed_is_text_and_never_markup() -> None:
    run_result = hostile_result(HOSTILE)
    names = tuple(variant.name for variant in run_result.variants)
    raw = ChartData(tuple(samples(names)), tuple(readings(names[0])))
    found = charts(run_result, raw)
    assert {chart.name for chart in found} == {*ALL, "blast-radius"}
    for chart in found:
        allowed = {"svg", "title", "desc", "style", "defs", "pattern", "rect", "g", "text", "tspan"}
        elements = list(tree(chart).iter())
        assert {str(element.tag).removeprefix(SVG) for element in elements} <= allowed | {
            "path",
            "circle",
        }
        assert not [key for element in elements for key in element.attrib if key.startswith("on")]
        assert not re.search(r"[\x00-\x1f\u202e]", "".join(tree(chart, styled=False).itertext()))
    assert not set(plot_text(run_result, raw)) & set("\x1b\u202e"), "a plot drives no terminal"


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_every_line_can_be_seen_on_its_ground() -> None:
    for ink, colours in COLOURS.items():
        for ground, colour in BACKGROUND.items():
            assert contrast(colours[ground], colour) >= 3, (ink, ground)


def test_variants_have_the_colours_they_have_everywhere_and_differ() -> None:
    assert COLOURS["chain"] == {"light": "#B84F00", "dark": "#E69F00"}
    assert COLOURS["bus"] == {"light": "#0072B2", "dark": "#56B4E9"}
    variants = [
        VariantResult(name=f"v{n}", arrangement=a) for n, a in enumerate(("async-bus", *BOTH))
    ]
    assert [style.colour for style in series_styles(variants)] == ["bus", "chain", "green"]
    six = series_styles(
        [VariantResult(name=f"v{number}", arrangement="sync-chain") for number in range(6)]
    )
    for name in ("colour", "shape", "dash"):
        assert len({getattr(style, name) for style in six}) == 6


def test_bins_end_where_phases_end(run: RunResult, raw: ChartData) -> None:
    time = time_axis(run, raw)
    assert time is not None
    assert {0.0, 2.0, 4.0, 6.0} <= {round(edge, 6) for edge in time.edges}
    binned = time.bin_samples(list(raw.samples))
    assert sum(map(len, binned)) == len(raw.samples)
    for number, found in enumerate(binned):
        assert len({sample.phase for sample in found}) <= 1, time.edges[number]


def test_a_document_without_a_timeline_is_drawn_without_windows(
    run: RunResult, raw: ChartData
) -> None:
    found = charts_by_name(run.model_copy(update={"timeline": RunTimeline()}), raw)
    assert found.keys() == ALL
    assert "Nothing was broken" in found["success-over-time"].description
    assert "window" not in found["latency-over-time"].body


def test_the_timeline_is_what_the_scenario_says() -> None:
    scenario = catalogue.find("downed-service")
    timeline = scenario.timeline().to_result(list(scenario.variants))
    assert [stage.name for stage in timeline.stages] == ["before", "during", "after"]
    (window,) = timeline.windows
    assert (window.target, window.kind) == ("comments", "down")
    assert (window.from_s, window.until_s) == (
        timeline.stages[1].from_s,
        timeline.stages[1].until_s,
    )
    assert window.variants == list(scenario.variants)
    burst = catalogue.find("burst")
    timeline = burst.timeline().to_result(list(burst.variants))
    assert [window.target for window in timeline.windows if window.kind == "surge"] == ["load"]


def test_what_a_run_has_left_is_read_back(tmp_path: Path) -> None:
    run_result = save_run(tmp_path)
    found = ChartData.read(run_result, tmp_path)
    assert len(found.samples) == sum(sample.phase != "warm_up" for sample in samples())
    assert list(found.readings) == readings()
    assert found.problems == ()
    (tmp_path / "samples.csv").write_text("not,samples\n")
    (tmp_path / "lag.csv").unlink()
    damaged = ChartData.read(run_result, tmp_path)
    assert (damaged.samples, damaged.readings) == ((), ())
    assert len(damaged.problems) == 2


def test_a_file_that_holds_no_readings_is_refused(tmp_path: Path) -> None:
    for text in ("", "a,b\n1,2\n", "t,variant,service,head,offset,applied\n"):
        (tmp_path / "lag.csv").write_text(text)
        with pytest.raises(ValueError, match="not a file of readings"):
            read_lag(tmp_path / "lag.csv")


def test_of_several_runs_the_valid_ones_are_drawn_together(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    runs = []
    for number, (name, valid) in enumerate(
        (("run-01", True), ("run-02", False), ("run-03", True), ("../outside", True)), 1
    ):
        (folder / name).mkdir(parents=True)
        save_run(folder / name)
        runs.append(RunSummary(seed=number, folder=name, valid=valid))
    count = sum(sample.phase != "warm_up" for sample in samples())
    found = ChartData.read(result(samples(), repeats=len(runs), runs=runs), folder)
    assert len(found.samples) == 2 * count, "and none from outside the folder"
    assert list(found.readings) == readings()


def test_with_many_samples_there_are_lines_and_no_smear() -> None:
    many = [sample for sample in samples(count=4_000) if sample.phase != "warm_up"]
    chart = charts_by_name(result(many), ChartData(tuple(many)))["latency-over-time"]
    assert not paths(chart, "faint")
    assert paths(chart, "line", "i-chain", "d0")
    assert len(chart.svg()) < 40_000


def test_scales_put_figures_where_they_belong() -> None:
    log = logarithmic([1.0, 1_000.0], 100.0, 0.0)
    assert log(1.0) > log(10.0) > log(1_000.0)
    assert log(1.0) - log(10.0) == pytest.approx(log(10.0) - log(100.0))
    assert (log(0.0001), log(1e9)) == (100.0, 0.0)
    assert {1.0, 10.0, 100.0, 1_000.0} <= set(log.ticks())
    straight = linear([37.0], 0.0, 100.0)
    assert straight(0.0) == 0.0
    assert straight.high == 40.0
    assert straight.ticks(4) == [0.0, 10.0, 20.0, 30.0, 40.0]
    assert linear([], 0.0, 1.0).high == 1.0
    assert Scale(0.0, 6.5, 0.0, 1.0).ticks(7) == [0, 1, 2, 3, 4, 5, 6]


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    drawn_line = line([(0, 1), (1, 1), None, (2, 2), None, (3, 3), (4, 3)], "x")
    assert 'd="M0 1L1 1M3 3L4 3"' in drawn_line
    assert line([(0, 0), None, (1, 1)], "x") == ""


def plot_text(
    document: RunResult, data: ChartData, width: int = 80, encoding: str = "utf-8"
) -> str:
    binary = io.BytesIO()
    out = io.TextIOWrapper(binary, encoding=encoding, errors="strict")
    print_plots(document, data, Console(file=out, width=width, force_terminal=False))
    out.flush()
    return binary.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_plot_fits_the_terminal_and_its_signs(
    run: RunResult, raw: ChartData, encoding: str
) -> None:
    for width in (40, 80, 200):
        lines = plot_text(run, raw, width, encoding).splitlines()
        assert max(map(len, lines)) <= width
        headings = [line.strip() for line in lines if line.strip() in ("read_feed", "create_post")]
        assert headings[:2] == ["read_feed", "create_post"]


def rows_with(plot: str, sign: str) -> Sequence[int]:
    """The rows of the first panel that contain a sign; 0 is the topmost."""
    panel = plot.split("read_feed")[1].split("good")[0].splitlines()[1:7]
    return [number for number, text in enumerate(panel) if sign in text]


def test_a_plot_shows_who_is_slow_and_who_fails(run: RunResult, raw: ChartData) -> None:
    shown = plot_text(run, raw)
    assert rows_with(shown, "●")[0] == 0
    assert min(rows_with(shown, "□")) > 3
    assert "good ●" in shown
    assert "good □" not in shown
    assert "comments latency (ms 300)" in shown


def test_a_plot_shows_a_lag_that_grows_and_drains(run: RunResult, raw: ChartData) -> None:
    panel = plot_text(run, raw).split("query lag, events")[1].splitlines()[1:7]
    highest = min(number for number, text in enumerate(panel) if "□" in text)
    assert highest <= 1
    assert panel[-1].rstrip().endswith("□")
    assert not any("●" in text for text in panel)


def test_a_plot_shows_the_spread_of_every_phase(run: RunResult, raw: ChartData) -> None:
    spread = plot_text(run, raw).split("Spread: p50, p95 and max")[1]
    feed, post, _ = (
        block for block in re.split(r"read_feed|create_post|create_comment", spread)[1:]
    )
    chain = [text for text in feed.splitlines() if "●" in text]
    before, during, after = (text.rindex("●") for text in chain)
    assert during > before == after
    assert re.search(r"30\d +30\d +30\d$", chain[1].rstrip())
    assert "◌" in post
    assert "◌" not in feed
    assert "Spread" not in plot_text(result_with_phases("a down", "b down"), raw)


def test_without_samples_or_room_a_plot_says_so(run: RunResult, raw: ChartData) -> None:
    assert plot_text(run, ChartData()).strip() == "Nothing to plot: there are no samples."
    narrow = " ".join(plot_text(run, raw, width=20).split())
    assert narrow == "Nothing to plot: the terminal is too narrow."


def test_where_nothing_was_answered_well_the_plot_says_it() -> None:
    bad = [
        Sample("sync-chain", "during", "read_feed", 3.0 + number / 10, 0.1, 5.0, 503, "http_503")
        for number in range(9)
    ]
    shown = plot_text(result(bad, ("sync-chain",)), ChartData(tuple(bad)))
    assert "not one good answer" in shown
    assert "××" in shown
