"""The lab from Python: the same names as the command line, results, and their display."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import lab
from lab.api.blogs import Feed, RequestFailed
from lab.api.display import MissingExtra
from lab.api.result import NoSuchFigure, Result
from lab.api.tasks import LoopThread
from lab.domain.errors import Invalid
from lab.experiment.guesses import GuessError
from lab.results.result import ResultError
from lab.scenarios.catalogue import UnknownName
from tests.programs.unhurried import be_unhurried
from tests.support.laboratory import PATIENCE_S
from tests.support.small import ROOT, SLOW_POSTS, find_own_processes, scenario_file

HOSTILE = '<script>alert("x")</script>\x1b]0;owned\x07\u202e'


@pytest.fixture
def before() -> set[int]:
    """The processes that ran before a test: other suites' stacks may outlive it."""
    return find_own_processes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("api")
    scenario_file(made, "good", SLOW_POSTS, title=HOSTILE, question=HOSTILE)
    return made


@pytest.fixture(scope="module", autouse=True)
def unhurried() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        be_unhurried(patch.setattr)
        yield


@pytest.fixture(scope="module")
def ran(folder: Path, unhurried: None) -> Result:
    """One run, with guesses."""
    guesses = lab.predict(str(folder / "good.toml"), fails="nobody", lost=0)
    result: Result = lab.run(str(folder / "good.toml"), keep=folder / "runs", predict=guesses)
    return result


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stacks(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Both blogs, in an event loop that is already running; none of their processes is left."""
    before, folder = find_own_processes(), tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        up = lab.up("both")
    async with up as both:
        yield both
    assert find_own_processes() <= before
    assert not list(folder.glob("runs/*/data"))


# ── Names


def test_importing_the_lab_loads_nothing_but_itself() -> None:
    """`lab.scenarios`, a package and a function, can be called before and after it is loaded."""
    script = (
        "import sys; before = set(sys.modules) | {'typing', 're', 'types'}; import lab;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names)), "
        "[name for name in sys.modules if name.startswith('lab.')]);"
        "early = lab.scenarios;"
        "import lab.scenarios.catalogue, lab.report.terminal.run;"
        "print(early().names == lab.scenarios().names == lab.scenarios.catalogue.builtin_names(),"
        " lab.report.terminal.run.__name__, lab.report.__doc__ is not None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["['lab'] []", "True lab.report.terminal.run True"]


def test_all_public_names_are_there_and_listed() -> None:
    for name in lab.__all__:
        assert callable(getattr(lab, name))
        assert name in dir(lab)
    with pytest.raises(AttributeError, match="has no attribute 'rum'"):
        _ = lab.rum


def test_scenarios_are_listed_by_name_and_by_tag() -> None:
    every = lab.scenarios()
    assert "slow-service" in every.names
    assert 0 < len(lab.scenarios("data")) < len(every)
    assert "slow-service" in every._repr_mimebundle_()["text/plain"]
    assert "<td" in every._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(
    ("call", "wish", "error", "says"),
    [
        (lab.run, {"name": "slow-servic"}, UnknownName, "Did you mean 'slow-service'"),
        (lab.run, {"name": "calm", "only": "bus"}, ValueError, "has no variant 'bus'"),
        (lab.run, {"name": "calm", "rate": -1}, ValueError, "expected 0.1 to 1000"),
        (lab.run, {"name": "calm", "repeat": 0}, ValueError, "expected 1 to 50"),
        (lab.run, {"name": "calm", "bus": "rabbit"}, ValueError, "rabbit"),
        (lab.run, {"name": "calm", "predict": {"lost": "some"}}, GuessError, "a whole number"),
        (lab.up, {"which": "bus"}, ValueError, "There is no stack 'bus'"),
        (lab.up, {"which": "both", "settings": {"dead_leter": True}}, ValueError, "'dead_letter'"),
        (lab.up, {"which": "async-bus", "bus": "rabbit"}, ValueError, "rabbit"),
    ],
)
def test_what_can_not_be_meant_is_refused_at_once(
    tmp_path: Path, call: Any, wish: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        call(**wish, keep=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# ── Results


def test_a_run_is_valid_kept_and_read_again(ran: Result, folder: Path) -> None:
    assert ran.valid, ran.problems
    assert ran.folder is not None
    assert ran.folder.parent == folder / "runs"
    again = lab.report(ran.folder)
    assert again.to_json() == ran.to_json()
    assert lab.report(str(ran.folder / "result.json")).folder == ran.folder


def test_a_figure_is_reached_by_variant_phase_request_and_name(ran: Result) -> None:
    reads = ran["sync-chain"].phase("during")["read_feed"]
    assert reads.p50 <= reads.p99 <= reads.max
    assert reads.p50 == ran.phase("during")["read_feed"].p50["sync-chain"]
    assert set(ran.phase("during")["read_feed"].success) == {"sync-chain", "async-bus"}
    assert "ms" in (type(reads).p99.__doc__ or "")
    assert set(ran["async-bus"].phase("before")) <= {"read_feed", "create_post", "create_comment"}
    for look, says in (
        (lambda: ran["sync"], "Did you mean 'sync-chain'"),
        (lambda: ran.phase("durin"), "Did you mean 'during'"),
        (lambda: ran.phase("during")["feed"], "Did you mean 'read_feed'"),
    ):
        with pytest.raises(NoSuchFigure, match=says):
            look()


def test_a_notebook_gets_tables_and_charts_without_any_link(ran: Result) -> None:
    shown = ran._repr_mimebundle_()
    html = shown["text/html"]
    assert "What you had predicted" in html
    assert html.count("<svg") == len(ran.charts()) > 2
    assert "prefers-color-scheme" in html
    without_names = html.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|src=|@import|url\((?!#)", without_names)
    assert "What became of the writes" in html
    assert "lost / duplicated" in shown["text/plain"]
    assert repr(ran) == "<Result of good: 1 of 1 expectations hold>"
    assert "lab report --full" in str(ran)


def test_texts_of_a_hostile_scenario_are_only_texts(ran: Result) -> None:
    shown = ran._repr_mimebundle_()
    questions = lab.predict(str((ran.folder or Path()).parent.parent / "good.toml"))
    for one in (shown, questions._repr_mimebundle_(), ran.compare(ran)._repr_mimebundle_()):
        assert "<script" not in one["text/html"]
        assert not set("\x1b\u202e\x07") & set(one["text/html"] + one["text/plain"])
    assert "&lt;script&gt;" in shown["text/html"]


def test_a_frame_has_a_row_for_each_request_kind(ran: Result) -> None:
    pytest.importorskip("pandas", reason="the extra `notebooks` is not installed")
    frame = ran.to_frame()
    assert {"variant", "phase", "request", "success", "p99_ms", "visible_p50_ms"} <= set(frame)
    row = frame[(frame.variant == "async-bus") & (frame.phase == "before")]
    assert row[row.request == "read_feed"].p50_ms.item() == (
        ran["async-bus"].phase("before")["read_feed"].p50
    )
    sent = sum(ran.phase("during")["read_feed"].sent.values())
    raw = ran.to_frame(raw=True)
    assert len(raw[(raw.phase == "during") & (raw.endpoint == "read_feed")]) == sent


def test_a_missing_extra_is_one_clear_message(ran: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install pandas")):
        ran.to_frame()


def test_a_result_is_saved_and_two_are_compared(ran: Result, tmp_path: Path) -> None:
    ran.save(tmp_path / "mine.json")
    other = lab.report(tmp_path / "mine.json")
    assert json.loads((tmp_path / "mine.json").read_text()) == json.loads(ran.to_json())
    assert "the same verdict in both" in str(ran.compare(other))
    ran.save(tmp_path / "mine.html")
    assert "<svg" in (tmp_path / "mine.html").read_text()
    assert (ran.folder or tmp_path).joinpath("report.html").exists()
    with pytest.raises(ResultError, match="can't be read"):
        lab.report(tmp_path / "nowhere")


async def test_plain_runs_work_though_a_loop_runs_here(tmp_path: Path, before: set[int]) -> None:
    """Two runs that become one result."""
    name = scenario_file(tmp_path, "inside", variants=("sync-chain",))
    seen: list[str] = []
    result = lab.run(
        str(tmp_path / name),
        repeat=2,
        quick=True,
        keep=tmp_path / "runs",
        progress=lambda line: seen.append(str(line)),
    )
    assert (result.scenario, result.repeats) == ("inside", 2)
    assert [one.seed for one in result.runs] == [7, 8]
    assert seen
    assert find_own_processes() <= before


# ── The loop thread


@pytest.mark.parametrize("where", [threading.main_thread, threading.current_thread])
def test_an_interrupt_cancels_the_work_and_waits_for_it(
    where: Callable[[], threading.Thread],
) -> None:
    """An interrupt sent to another thread does not wake the waiting one. Sent to the waiting
    thread, it may come in the moment before the wait, with the same effect."""
    tidied: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        try:
            loop.call_soon(signal.pthread_kill, where().ident, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied.append("done")

    with LoopThread() as loop, pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert tidied == ["done"]


def test_what_the_work_raises_is_raised_here() -> None:
    async def work() -> None:
        raise TimeoutError("its own")

    with LoopThread() as loop, pytest.raises(TimeoutError, match="its own"):
        loop.run(work())


# ── Running blogs


in_their_loop = pytest.mark.asyncio(loop_scope="module")


@in_their_loop
async def test_both_blogs_are_written_to_broken_and_mended(stacks: Any) -> None:
    chain, bus = stacks["sync-chain"], stacks["async-bus"]
    assert list(stacks) == ["sync-chain", "async-bus"]
    assert chain.urls["posts"] in stacks._repr_mimebundle_()["text/html"]
    for blog in (chain, bus):
        post = await blog.post(HOSTILE)
        assert await blog.settle(PATIENCE_S)
        assert (await blog.comment(post, "An orange"))["post_id"] == post["id"]
        assert await blog.settle(PATIENCE_S)
        feed = await blog.feed()
        assert "\x1b" not in str(feed)
        assert [one["status"] for one in feed[0]["comments"]] == ["rejected"]
        assert feed.ms > 0
        assert "<script" not in feed._repr_mimebundle_()["text/html"]
    events = await bus.events(after=1, type="CommentUpdated")
    assert {one["type"] for one in events} == {"CommentUpdated"}
    with pytest.raises(Invalid, match="sync-chain has no bus"):
        await chain.events()
    async with chain.fault("error", "comments", status=503) as broken:
        assert "is on" in str(broken)
        with pytest.raises(RequestFailed) as caught:
            await chain.feed()
        assert caught.value.status in (502, 503)
        assert len((await chain.faults()).deeds) == 1
        assert await bus.feed()
    assert not (await chain.faults()).deeds
    assert await chain.feed()


@in_their_loop
async def test_an_order_without_await_comes_before_the_next(stacks: Any) -> None:
    chain = stacks["sync-chain"]
    chain.fault("error", "posts", status=503)
    with pytest.raises(RequestFailed):
        await chain.post("Refused")
    chain.heal()
    assert (await chain.post("Taken in"))["title"] == "Taken in"
    begun = chain.feed()
    assert "await" in repr(begun)
    await begun


@in_their_loop
async def test_a_fault_cancelled_half_way_is_taken_back(stacks: Any) -> None:
    chain = stacks["sync-chain"]
    ordered = asyncio.ensure_future(_awaited(chain.fault("hang", "comments")))
    supervisor, program = chain._stack.supervisor, chain._stack.program_name("comments")
    async with asyncio.timeout(PATIENCE_S):
        while not supervisor._children[program].suspended:  # noqa: ASYNC110 - as the kernel says
            await asyncio.sleep(0.001)
    ordered.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ordered
    assert not (await chain.faults()).deeds
    await chain.feed()


async def _awaited(doing: Any) -> Any:
    return await doing


@in_their_loop
@pytest.mark.parametrize("name", ["sync-chain", "async-bus"])
async def test_a_request_is_followed_through_every_process(stacks: Any, name: str) -> None:
    trace = await stacks[name].trace("comment")
    assert {step.service for step in trace.story.steps} >= {"client", "comments", "moderation"}
    assert trace.visible_ms >= trace.answered_ms > 0
    assert "answered" in trace._repr_mimebundle_()["text/plain"]
    with pytest.raises(Invalid, match="There is no request 'coment'"):
        await stacks[name].trace("coment")


async def test_a_failure_not_awaited_is_raised_at_the_end(tmp_path: Path, before: set[int]) -> None:
    with pytest.raises(Invalid, match="Did you mean 'latency'"):
        async with lab.up("monolith", keep=tmp_path) as stacks:
            stacks["monolith"].fault("latncy", "posts", ms=3)
    assert find_own_processes() <= before


def test_without_a_loop_nothing_is_awaited(tmp_path: Path, before: set[int]) -> None:
    with lab.up("async-bus", settings={"dead_letter": True}, keep=tmp_path) as stacks:
        bus = stacks["async-bus"]
        bus.post("Hello")
        assert bus.settle(PATIENCE_S)
        with bus.fault("latency", "query", ms=30):
            feed = bus.feed()
        assert isinstance(feed, Feed)
        assert feed.ms >= 30
        healed = bus.heal()
        assert not healed.deeds
    assert find_own_processes() <= before


@pytest.mark.slow
def test_the_readme_s_python_runs_as_it_stands_there(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="the extra `notebooks` is not installed")
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
    )
    script = (
        "import ast, asyncio, inspect, sys;"
        "flag = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT;"
        "asyncio.run(eval(compile(sys.stdin.read(), 'README.md', 'exec', flags=flag)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=block,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "client" in done.stdout
