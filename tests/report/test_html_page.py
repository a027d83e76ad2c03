"""The page of a run: everything in one file, readable by anybody, harmless whatever was typed."""

import json
import re
import stat
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lab.report import page
from lab.report.charts import Raw
from lab.scenarios.guessed import Guess
from lab.scenarios.result import Expectation, FaultProof, Result
from tests.support.browser import Seen, chromium
from tests.support.kept_runs import kept, result, samples
from tests.support.small import SLOW_POSTS, honest_lab, lab, scenario_file

MOST_BYTES = 400_000
PRIVATE = 0o600
HOSTILE = (
    "</title></style><script>alert('ran')</script><img src=x onerror=alert('ran')>"
    "<a href='javascript:alert(1)'>\"' onmouseover=alert('ran') {}\x1b]0;x\x07\u202e&lt;b>"
)
SIX = ("sync-chain", "async-bus", "with retries", "with a budget", "with a breaker", "all")
ORDER = (
    *("The question", "Timeline", "Who was answered, and how soon", "When writes were visible"),
    *("What became of the data", "Theory and measurement", "What is claimed, and what was seen"),
    *("What it means", "How it was measured"),
)


class Elements(HTMLParser):
    """The elements of a document, with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def names(self) -> set[str]:
        return {name for name, _ in self.found}


def written(folder: Path) -> str:
    made = kept(folder)
    return page.keep(made, folder).read_text(encoding="utf-8")


def hostile() -> Result:
    """A result in which everything that anybody can type is meant badly."""
    names = (HOSTILE[:200], f"2{HOSTILE[:190]}")
    of = result(samples(names), names)
    of.scenario = of.title = of.question = of.explain = HOSTILE
    of.environment = {HOSTILE: {HOSTILE: HOSTILE}}
    of.problems = [HOSTILE]
    of.timeline.windows[0].target = of.timeline.stages[0].name = HOSTILE
    of.predictions[0].says = of.predictions[0].because = HOSTILE
    of.expectations = [
        Expectation(says=HOSTILE, claim=HOSTILE, that=HOSTILE, verdict="fails", expected=HOSTILE)
    ]
    of.guesses = [Guess(question=HOSTILE, asks=HOSTILE, variant=HOSTILE, guessed=HOSTILE)]
    for variant in of.variants:
        variant.notes = [HOSTILE]
        variant.options = {HOSTILE: HOSTILE}
        variant.databases = {HOSTILE: [HOSTILE]}
        variant.faults = [
            FaultProof(kind=HOSTILE, target=HOSTILE, acted=False, evidence={HOSTILE: HOSTILE})
        ]
        variant.phases = {f"{name} {HOSTILE}": one for name, one in variant.phases.items()}
    return of


def test_a_page_has_everything_in_the_order_of_a_lab_report(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert tuple(re.findall(r"<h2>(.*?)</h2>", text)) == ORDER
    assert text.count("<svg ") == 6
    told = " ".join(" ".join(Elements(text).text).split())
    for said in (
        *("A slow service", "Who waits?", "seed 7", "One paragraph.", "Another paragraph."),
        *("comments latency (ms 300) from 2.0 s to 4.0 s", "one of sand", "All expectations hold."),
        *("✓ holds:", "sync-chain.during.read_feed.p50 303 ms", "The sum of the hops, ms"),
    ):
        assert said in told, said


def test_a_page_has_every_figure_of_the_tables(tmp_path: Path) -> None:
    made = kept(tmp_path)
    told = Elements(page.page(made, Raw.of(made, tmp_path))).text
    of = made.variants[0].phases["during"].endpoints["read_feed"]
    assert str(of.sent) in told
    assert f"{of.latency_ms.p50:.0f}" in told
    assert f"{int(1000 * (of.success or 0)) / 10} %" in told


def test_what_was_said_before_the_run_stands_before_what_was_measured(tmp_path: Path) -> None:
    said = Guess(question="p99", asks="How long?", variant="sync-chain", unit="ms", guessed=250.0)
    made = kept(tmp_path, guesses=[said.model_copy(update={"measured": 303.0, "hit": True})])
    text = page.page(made, Raw())
    assert text.index("How long?") < text.index("<h2>Timeline")


def test_a_page_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    elements = Elements(written(tmp_path))
    assert elements.names().isdisjoint({"script", "img", "iframe", "object", "a", "image", "use"})
    addresses = [
        value
        for _, attributes in elements.found
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href", "srcset", "data", "action")
    ]
    assert addresses == ["data:,"]
    style = "".join(elements.text)
    assert "@import" not in style
    assert set(re.findall(r"url\((.)", style)) == {"#"}
    policy = next(of["content"] for _, of in elements.found if "http-equiv" in of)
    assert (policy or "").startswith("default-src 'none'")


def test_what_people_typed_is_text_and_never_markup(tmp_path: Path) -> None:
    of = hostile()
    harmless = Elements(page.page(result(samples()), Raw.of(kept(tmp_path), tmp_path)))
    for valid in (True, False):
        of.valid = valid
        elements = Elements(page.page(of, Raw(tuple(samples(tuple(v.name for v in of.variants))))))
        assert elements.names() <= harmless.names() | {"ul", "li", "h3"}
        keys = {key for _, attributes in elements.found for key in attributes}
        assert not {key for key in keys if key.startswith("on")}
        assert "<script>alert('ran')</script>" in "".join(elements.text)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", "".join(elements.text))


def test_a_run_that_was_not_honest_says_so_first_and_judges_nothing() -> None:
    of = result(samples(), valid=False, problems=["The load was late."])
    text = page.page(of, Raw())
    told = " ".join(Elements(text).text)
    assert "INVALID: this run was not honest" in told
    assert "The load was late." in told
    assert "It proves nothing either way." in told
    assert "holds:" not in told
    assert "Theory and measurement" not in told


def test_without_samples_there_is_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    made = kept(tmp_path)
    (tmp_path / "samples.csv").unlink()
    text = page.keep(made, tmp_path).read_text(encoding="utf-8")
    assert "There are no charts over time" in text
    assert "latency-over-time" not in text
    assert "lab-answered-visible" in text


def test_a_result_with_nothing_in_it_is_a_page_all_the_same() -> None:
    empty = Result(scenario="nothing", seed=1, started="", variants=[])
    elements = Elements(page.page(empty, Raw()))
    assert "Nothing is expected of these variants." in elements.text


def test_the_page_of_a_long_run_of_many_variants_is_no_longer_than_it_may_be(
    tmp_path: Path,
) -> None:
    made = kept(tmp_path, SIX, count=3_000)
    assert page.keep(made, tmp_path).stat().st_size <= MOST_BYTES


def test_a_page_is_its_owners_alone_and_replaces_the_one_before(tmp_path: Path) -> None:
    made = kept(tmp_path)
    path = tmp_path / page.NAME
    path.write_text("the one before")
    (tmp_path / f"{page.NAME}.part").write_text("left over")
    assert page.keep(made, tmp_path) == path
    assert stat.S_IMODE(path.stat().st_mode) == PRIVATE
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not list(tmp_path.glob("*.part"))


def test_the_command_writes_it_anew_and_says_where(tmp_path: Path) -> None:
    kept(tmp_path)
    for told in (tmp_path, tmp_path / "result.json"):
        (tmp_path / page.NAME).unlink(missing_ok=True)
        said = lab("report", str(told), "--html", cwd=tmp_path)
        assert (said.returncode, said.stderr) == (0, "")
        assert said.stdout.strip() == str(tmp_path / page.NAME)
        assert (tmp_path / page.NAME).exists()


def test_where_no_page_can_be_written_the_command_says_so(tmp_path: Path) -> None:
    kept(tmp_path)
    (tmp_path / page.NAME).mkdir()  # whoever is root may write anywhere, but not over a folder
    said = lab("report", str(tmp_path), "--html", cwd=tmp_path)
    assert said.returncode == 3
    assert f"{tmp_path / page.NAME} can't be written" in said.stderr
    assert "Traceback" not in said.stderr


def test_the_command_plots_a_kept_run(tmp_path: Path) -> None:
    kept(tmp_path)
    said = lab("report", str(tmp_path), "--plot", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert "Over time: p50 of the good answers, ms" in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= 80


def test_every_run_leaves_its_page(tmp_path: Path) -> None:
    scenario = scenario_file(tmp_path, "small", SLOW_POSTS, title="<b>small</b>")
    ran = honest_lab("run", scenario, "--json", "--keep", "kept", cwd=tmp_path)
    document = json.loads(ran.stdout)
    assert [one["name"] for one in document["timeline"]["stages"]] == ["before", "during", "after"]
    assert [one["target"] for one in document["timeline"]["windows"]] == ["posts"]
    newest = sorted((tmp_path / "kept").iterdir())[-1]
    text = (newest / page.NAME).read_text(encoding="utf-8")
    assert stat.S_IMODE((newest / page.NAME).stat().st_mode) == PRIVATE
    assert "<h1>&lt;b&gt;small&lt;/b&gt;</h1>" in text
    assert "lab-latency-over-time" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    return page.keep(kept(folder), folder).as_uri()


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with as many variants as there may be."""
    folder = tmp_path_factory.mktemp("crowded")
    return page.keep(kept(folder, SIX), folder).as_uri()


def opened(browser: Any, url: str, scheme: str = "light", width: int = 1_000) -> Seen:
    """The page in a window of its own, without a network."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    seen = Seen(context.new_page())
    seen.page.goto(url)
    return seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1_000])
def test_a_browser_finds_no_barrier_asks_for_nothing_and_complains_of_nothing(
    browser: Any, address: str, scheme: str, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not here")
    seen = opened(browser, address, scheme, width)
    found = axe.Axe().run(seen.page).response
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    assert [one["id"] for one in found["passes"] if one["id"] == "color-contrast"]
    assert seen.asked == [address]
    assert seen.complaints == []
    seen.page.context.close()


def test_nothing_that_was_typed_runs_in_a_browser(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(page.page(hostile(), Raw()), encoding="utf-8")
    seen = opened(browser, path.as_uri())
    assert seen.asked == [path.as_uri()]
    assert seen.complaints == []
    assert seen.page.title().startswith("</title></style><script>")
    seen.page.context.close()


@pytest.mark.parametrize("width", [360, 1_000])
def test_no_width_makes_the_page_itself_scroll_sideways(
    browser: Any, address: str, width: int
) -> None:
    seen = opened(browser, address, width=width)
    root = "document.documentElement"
    assert seen.page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    seen.page.context.close()


@pytest.mark.parametrize("which", ["address", "crowded"])
def test_on_paper_it_is_dark_on_white_and_nothing_is_cut_off(
    browser: Any, which: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(which)
    seen = opened(browser, url, "dark", width=718)  # A4 less its margins
    ground = "getComputedStyle(document.querySelector('.lab-chart .ground')).fill"
    body = "getComputedStyle(document.body).backgroundColor"
    assert seen.page.evaluate(ground) == "rgb(15, 23, 42)"
    seen.page.emulate_media(media="print", color_scheme="dark")
    white = "rgb(255, 255, 255)"
    assert [seen.page.evaluate(of) for of in (ground, body)] == [white, white]
    cut = """[...document.querySelectorAll('.scroll > *')]
        .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
        .map(one => one.outerHTML.slice(0, 90))"""
    assert seen.page.evaluate(cut) == []
    seen.page.context.close()
