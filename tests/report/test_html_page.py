"""The HTML page of a run: one file, accessible, and safe for any typed text."""

import json
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lab.commands.app import app
from lab.report import formatting
from lab.report.answer import build_answer
from lab.report.charts import ChartData
from lab.report.html import notebook, page
from lab.results.result import Guess, RunResult
from tests.support.browser import PageObserver, chromium
from tests.support.command_line import unhurried_lab
from tests.support.kept_runs import BOTH, hostile_result, result, samples, save_run
from tests.support.small import SLOW_POSTS, scenario_file

CELLS = ("full", "half", "none")
MOST_BYTES = 400_000
PRIVATE = 0o600
HOSTILE = (
    "</title></style><script>alert('ran')</script><img src=x onerror=alert('ran')>"
    "<a href='javascript:alert(1)'>\"' onmouseover=alert('ran') {}\x1b]0;x\x07\u202e&lt;b>"
)
SIX = ("sync-chain", "async-bus", "with retries", "with a budget", "with a breaker", "all")
JUPYTERLAB = """
.jp-OutputArea-output pre { white-space: pre-wrap; word-break: break-all }
.jp-ThemedContainer .jp-RenderedHTMLCommon td { text-align: right; padding: 0.5em }
"""
ORDER = (
    "The question",
    "Timeline",
    "Who was answered, and how soon",
    "When writes were visible",
    "What became of the data",
    "Theory and measurement",
    "What is claimed, and what was seen",
    "What it means",
    "How it was measured",
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved run with its page, which no test changes."""
    folder = tmp_path_factory.mktemp("page")
    page.save(save_run(folder), folder)
    return folder


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / page.NAME).read_text(encoding="utf-8")


def test_a_page_has_the_order_of_a_lab_report(text: str) -> None:
    assert tuple(re.findall(r"<h2>(.*?)</h2>", text)) == ORDER
    assert text.count("<svg ") == 6
    page_text = " ".join(" ".join(Elements(text).text).split())
    for sentence in (
        "A slow service",
        "Who waits?",
        "seed 7",
        "One paragraph.",
        "Another paragraph.",
        "comments latency (ms 300) from 2.0 s to 4.0 s",
        "one of sand",
        "All expectations hold.",
        "✓ holds:",
        "sync-chain.during.read_feed.p50 303 ms",
        "The sum of the hops, ms",
    ):
        assert sentence in page_text, sentence
    feed = result(samples()).variants[0].phases["during"].endpoints["read_feed"]
    figures = (feed.sent, f"{feed.latency_ms.p50:.0f}", formatting.success(feed.success))
    assert set(map(str, figures)) <= set(Elements(text).text)


def test_the_answer_comes_first_with_its_verdict_and_strip(text: str) -> None:
    answer = text[text.index("</h1>") : text.index("<h2>")]
    words = " ".join(" ".join(Elements(answer).text).split())
    for sentence in ("1 of 1 expectations hold", "While comments is slow", "better", "succeed"):
        assert sentence in words
    assert "<code>comments</code>" in answer
    strips = [of for name, of in Elements(answer).found if of.get("class") == "strip"]
    assert [(of["aria-label"] or "").split(":")[0] for of in strips] == list(BOTH)
    assert all(of["role"] == "img" for of in strips)
    cells = [of["class"] for name, of in Elements(answer).found if of.get("class") in CELLS]
    assert {"full", "none"} <= set(cells)


def test_a_notebook_cell_opens_with_the_same_answer() -> None:
    run_samples = samples()
    run_result = result(run_samples)
    answer = build_answer(run_result, run_samples)
    cell = notebook.result_html(run_result, answer, (), "")
    words = " ".join(" ".join(Elements(cell).text).split())
    for row in (row for section in answer.sections for row in section.rows):
        assert row.label.strip() in words
    assert cell.index("read the feed") < cell.index("All tables")
    assert "monospace" in cell


def test_predictions_stand_before_what_was_measured() -> None:
    guess = Guess(question="p99", asks="How long?", variant="sync-chain", unit="ms", guessed=250.0)
    guess = guess.model_copy(update={"measured": 303.0, "hit": True})
    text = page.render(result(samples(), guesses=[guess]), ChartData())
    assert text.index("How long?") < text.index("<h2>Timeline")


def test_a_page_is_one_file_that_asks_for_nothing(text: str) -> None:
    elements = Elements(text)
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


def test_what_people_typed_is_text_and_never_markup(text: str) -> None:
    run_result = hostile_result(HOSTILE)
    harmless = Elements(text)
    for valid in (True, False):
        run_result.valid = valid
        elements = Elements(
            page.render(
                run_result, ChartData(tuple(samples(tuple(v.name for v in run_result.variants))))
            )
        )
        assert elements.names() <= harmless.names() | {"ul", "li", "h3"}
        keys = {key for _, attributes in elements.found for key in attributes}
        assert not {key for key in keys if key.startswith("on")}
        assert "<script>alert('ran')</script>" in "".join(elements.text)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", "".join(elements.text))


def test_texts_in_a_notebook_cell_are_escaped() -> None:
    table = notebook.table(HOSTILE, [HOSTILE], [[HOSTILE]])
    paragraph, listing = notebook.as_paragraph(HOSTILE), notebook.as_pre(HOSTILE)
    elements = Elements(notebook.cell_html(HOSTILE, paragraph, listing, table))
    expected = {"div", "style", "p", "pre", "table", "caption", "thead", "tbody", "tr", "th"}
    assert elements.names() == expected
    assert "".join(elements.text).count("<script>alert('ran')</script>") == 6


def test_an_invalid_run_says_so_first_and_judges_nothing() -> None:
    run_result = result(samples(), valid=False, problems=["The load was late."])
    text = page.render(run_result, ChartData())
    page_text = " ".join(Elements(text).text)
    assert "INVALID: the figures of this run are not reliable" in page_text
    assert "The load was late." in page_text
    assert "It proves nothing either way." in page_text
    assert "holds:" not in page_text
    assert "Theory and measurement" not in page_text


def test_a_page_without_samples_says_what_is_missing(tmp_path: Path) -> None:
    run_result = save_run(tmp_path)
    (tmp_path / "samples.csv").unlink()
    text = page.save(run_result, tmp_path).read_text(encoding="utf-8")
    assert "There are no charts over time" in text
    assert "latency-over-time" not in text
    assert "lab-answered-visible" in text


def test_a_result_with_nothing_in_it_has_a_page() -> None:
    empty = RunResult(scenario="nothing", seed=1, started="", variants=[])
    elements = Elements(page.render(empty, ChartData()))
    assert "Nothing is expected of these variants." in elements.text


def test_the_page_of_a_long_run_keeps_within_its_size(tmp_path: Path) -> None:
    run_result = save_run(tmp_path, SIX, count=3_000)
    assert page.save(run_result, tmp_path).stat().st_size <= MOST_BYTES


def test_a_page_is_private_and_replaces_the_last_one(tmp_path: Path) -> None:
    run_result = save_run(tmp_path)
    path = tmp_path / page.NAME
    path.write_text("the one before")
    (tmp_path / f"{page.NAME}.part").write_text("left over")
    assert page.save(run_result, tmp_path) == path
    assert stat.S_IMODE(path.stat().st_mode) == PRIVATE
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not list(tmp_path.glob("*.part"))


def test_the_command_writes_the_page_anew_and_says_where(tmp_path: Path) -> None:
    save_run(tmp_path)
    for path, *options in ((tmp_path,), (tmp_path / "result.json", "--plot")):
        (tmp_path / page.NAME).unlink(missing_ok=True)
        outcome = CliRunner().invoke(app, ["report", str(path), "--html", *options])
        assert (outcome.exit_code, outcome.stderr) == (0, "")
        assert str(tmp_path / page.NAME) in outcome.stdout.replace("\n", "")
        assert (tmp_path / page.NAME).exists()


def test_where_no_page_can_be_written_the_command_says_so(tmp_path: Path) -> None:
    save_run(tmp_path)
    (tmp_path / page.NAME).mkdir()  # root can write anywhere, but not over a folder
    outcome = CliRunner().invoke(app, ["report", str(tmp_path), "--html"])
    assert outcome.exit_code == 3
    assert f"{tmp_path / page.NAME} can't be written" in outcome.stderr


def test_every_run_leaves_its_page(tmp_path: Path) -> None:
    scenario = scenario_file(tmp_path, "small", SLOW_POSTS, title="<b>small</b>")
    ran = unhurried_lab("run", scenario, "--json", "--keep", "kept", cwd=tmp_path)
    assert ran.stdout, ran.stderr
    document = json.loads(ran.stdout)
    assert [stage["name"] for stage in document["timeline"]["stages"]] == [
        "before",
        "during",
        "after",
    ]
    assert [window["target"] for window in document["timeline"]["windows"]] == ["posts"]
    (newest,) = (tmp_path / "kept").iterdir()
    text = (newest / page.NAME).read_text(encoding="utf-8")
    assert stat.S_IMODE((newest / page.NAME).stat().st_mode) == PRIVATE
    assert "<h1>&lt;b&gt;small&lt;/b&gt;</h1>" in text
    assert "lab-latency-over-time" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


@contextmanager
def open_page(
    browser: Any, path: Path, scheme: str = "light", width: int = 1_000
) -> Iterator[PageObserver]:
    """The page in a new window without network; it must request nothing else and log no error."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    observer = PageObserver(context.new_page())
    observer.page.goto(path.as_uri())
    yield observer
    assert observer.requested_urls == [path.as_uri()]
    assert observer.errors == []
    context.close()


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 360),
        *(
            pytest.param(scheme, width, marks=pytest.mark.slow)
            for scheme, width in (("light", 1_000), ("dark", 360), ("dark", 1_000))
        ),
    ],
)
def test_a_browser_finds_no_barrier_and_asks_for_nothing(
    browser: Any, folder: Path, scheme: str, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not here")
    with open_page(browser, folder / page.NAME, scheme, width) as observer:
        found = axe.Axe().run(observer.page).response
        assert [
            (dependency["id"], dependency["nodes"][0]["html"]) for dependency in found["violations"]
        ] == []
        assert [
            dependency["id"]
            for dependency in found["passes"]
            if dependency["id"] == "color-contrast"
        ]
        root = "document.documentElement"
        assert observer.page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), (
            "scrolls sideways"
        )


@pytest.mark.slow
def test_nothing_that_was_typed_runs_in_a_browser(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(page.render(hostile_result(HOSTILE), ChartData()), encoding="utf-8")
    with open_page(browser, path) as observer:
        assert observer.page.title().startswith("</title></style><script>")


@pytest.mark.slow
@pytest.mark.parametrize("variants", [BOTH, SIX])
def test_on_paper_a_page_is_dark_on_white_and_whole(
    browser: Any, tmp_path: Path, variants: tuple[str, ...]
) -> None:
    path = page.save(save_run(tmp_path, variants), tmp_path)
    ground = "getComputedStyle(document.querySelector('.lab-chart .ground')).fill"
    body = "getComputedStyle(document.body).backgroundColor"
    cut = """[...document.querySelectorAll('.scroll > *')]
        .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
        .map(one => one.outerHTML.slice(0, 90))"""
    with open_page(browser, path, "dark", width=718) as observer:  # A4 minus its margins
        assert observer.page.evaluate(ground) == "rgb(15, 23, 42)"
        observer.page.emulate_media(media="print", color_scheme="dark")
        white = "rgb(255, 255, 255)"
        assert [observer.page.evaluate(of) for of in (ground, body)] == [white, white]
        assert observer.page.evaluate(cut) == []


@pytest.mark.slow
def test_a_notebook_keeps_words_left_and_letters_unwrapped(browser: Any) -> None:
    table = notebook.table("Events", ["type", "ms"], [["PostCreated", "3"]])
    shown = notebook.cell_html(table, notebook.as_pre("─" * notebook.TEXT_WIDTH + "\nanswered"))
    window = browser.new_page(viewport={"width": 400, "height": 300})
    window.set_content(
        '<div class="jp-ThemedContainer"><div class="jp-RenderedHTMLCommon jp-OutputArea-output">'
        f"{shown}</div></div><style>{JUPYTERLAB}</style>"
    )
    style = "([what, rule]) => getComputedStyle(document.querySelector(what))[rule]"
    assert window.evaluate(style, ["tbody th", "textAlign"]) == "left"
    assert window.evaluate(style, ["td:last-child", "textAlign"]) == "right"
    assert window.evaluate(style, ["pre", "whiteSpace"]) == "pre"
    assert "monospace" in window.evaluate(style, ["pre", "fontFamily"])
    window.close()
