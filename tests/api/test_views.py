"""The commands that run no scenario, from Python, and how results display themselves."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lab
from lab.api import progress
from lab.api.result import Result
from lab.api.views import Traces, View
from lab.results.result import ResultError
from tests.support.kept_runs import BOTH, save_run

CHAIN = BOTH[0]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """A saved run in the folder `runs` of the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "20260101-100000-slow-service"
    folder.mkdir(parents=True)
    save_run(folder)
    return Result.load_run(folder)


# ── The names of the commands


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (lambda: lab.show("downed-service"), "lab run downed-service"),
        (lambda: lab.show(lab.scenarios()[0]), "variants"),
        (lambda: lab.claims(), "slowest-hop"),
        (lambda: lab.diff("comments"), "def create_comment"),
        (lambda: lab.compare("slow-service", "last"), "seed"),
        (lambda: lab.runs(), "slow-service"),
    ],
)
def test_a_command_has_a_function_that_shows_the_same(
    ran: Result, view: Callable[[], Any], says: str
) -> None:
    shown = view()
    assert says in str(shown)
    assert says in shown._repr_mimebundle_()["text/html"]
    assert len(repr(shown)) < 200


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: lab.show("downed-servic"), "Did you mean 'downed-service'"),
        (lambda: lab.diff("coments"), "Did you mean 'comments'"),
        (lambda: lab.diff("comments", "monolit"), "Did you mean 'monolith'"),
        (lambda: lab.trace("coment"), "Did you mean 'comment'"),
        (lambda: lab.trace(in_="monolit"), "Did you mean 'monolith'"),
        (lambda: lab.runs(0), "expected 1 or more"),
    ],
)
def test_a_wrong_name_is_refused_with_the_right_one(wrong: Callable[[], Any], says: str) -> None:
    with pytest.raises((LookupError, ValueError)) as caught:
        wrong()
    assert says in str(caught.value)


def test_saved_runs_are_found_by_name_and_as_the_last(ran: Result) -> None:
    assert lab.report().folder == lab.report("slow-service").folder
    assert [one.scenario for one in lab.runs()] == ["slow-service"]
    with pytest.raises(ResultError, match="There is no saved run 'calm'"):
        lab.report("calm")


def test_without_a_saved_run_the_next_step_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(lab.runs()) == 0
    assert "lab.run(" in str(lab.runs())
    with pytest.raises(ResultError, match="lab run slow-service"):
        lab.report()


@pytest.mark.slow
def test_design_and_trace_run_the_blog_for_a_moment() -> None:
    design = lab.design()
    assert isinstance(design, View)
    assert "async-bus" in str(design)
    traces = lab.trace("feed", in_="monolith")
    assert isinstance(traces, Traces)
    assert [one.story.variant for one in traces] == ["monolith"]


# ── Results


def test_completion_offers_figures_and_nothing_of_the_library(ran: Result) -> None:
    offered = {name for name in dir(ran) if not name.startswith("_")}
    assert {"variants", "expectations", "phase", "to_csv", "plot", "compare", "save"} <= offered
    assert not [name for name in offered if name.startswith(("model_", "parse_", "schema"))]
    assert "copy" not in offered
    assert ran._ipython_key_completions_() == list(BOTH)
    assert "during" in ran[CHAIN]._ipython_key_completions_()


def test_a_phase_is_reached_by_its_name_and_shows_its_figures(ran: Result) -> None:
    during = ran[CHAIN]["during"]
    feed = during["read_feed"]
    assert feed.p50 == ran[CHAIN].phase("during")["read_feed"].p50
    assert f"read_feed: {feed.ok} of {feed.sent} ok, p50 {feed.p50:.0f} ms" in repr(during)
    assert f"{feed.ok} of {feed.sent} ok" in repr(feed)
    both = repr(ran.phase("during"))
    assert all(f"{name} " in both for name in BOTH)


def test_figures_are_written_as_csv(ran: Result, tmp_path: Path) -> None:
    ran.to_csv(tmp_path / "mine.csv")
    with (tmp_path / "mine.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (feed,) = [
        row
        for row in rows
        if (row["variant"], row["phase"], row["request"]) == (CHAIN, "during", "read_feed")
    ]
    assert float(feed["p50_ms"]) == ran[CHAIN]["during"]["read_feed"].p50


def test_charts_show_themselves(ran: Result) -> None:
    plot = ran.plot()
    assert plot._repr_mimebundle_()["text/html"].count("<svg") == len(ran.charts()) > 2
    assert CHAIN in str(plot)
    assert all(chart._repr_svg_().startswith("<svg") for chart in ran.charts())


# ── Progress


class FakeHandle:
    """Collects what a notebook would show below its cell."""

    shown: list[str]

    def display(self, bundle: dict[str, str], raw: bool) -> None:
        FakeHandle.shown = [bundle["text/plain"]]

    def update(self, bundle: dict[str, str], raw: bool) -> None:
        FakeHandle.shown.append(bundle["text/plain"])


def test_a_notebook_shows_the_progress_of_a_run_and_removes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    display = pytest.importorskip("IPython.display", reason="the extra `notebooks`")
    monkeypatch.setattr(display, "DisplayHandle", FakeHandle)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    counts = {"sync-chain": {"ok": 7, "failed": 2}}
    with progress.notebook_progress(lab.scenarios()[0]) as shown:
        shown({"phase": "during", "t": 2.0, "variants": counts})
        shown({"phase": "during", "t": 2.1, "variants": counts})
    first, second, last = FakeHandle.shown
    assert "starting the processes" in first
    assert "during" in second
    assert "sync-chain 7 ok, 2 failed" in second
    assert last == ""


def test_outside_a_notebook_no_progress_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "NotebookProgress", None)
    with progress.notebook_progress(lab.scenarios()[0]) as shown:
        shown({"phase": "during", "t": 2.0, "variants": {}})
