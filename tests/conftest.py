"""Fixtures for suites that need running services: stacks start once per module, never shared."""

import faulthandler
import signal
from collections.abc import Iterator

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from lab.cluster.arrangements import ARRANGEMENTS
from tests.support.laboratory import Laboratory, RunningBlog

LONGEST_FIRST = (
    "exercises/test_exercises",
    "commands/test_run",
    "commands/test_help_and_words",
    "experiment/test_mutants",
    "docs/test_commands_in_docs",
    "docs/test_notebooks",
    "live/test_looks",
    "live/test_page",
    "tracing/test_trace",
    "api/test_kernel",
    "blog/test_resilience_stacks",
)
"""Slow test files. They go first, so that at the end no worker waits for one of them."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Import the lab as it is. Its pytest plugin makes pytest rewrite all of it, and CPython 3.11
    can't build two syntax trees at once (gh-106905): an import in the middle of a test failed."""
    hook = config.pluginmanager.rewrite_hook
    hook._must_rewrite.discard("lab")  # type: ignore[attr-defined]
    hook._marked_for_rewrite_cache.clear()  # type: ignore[attr-defined]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    last = len(places)
    items.sort(key=lambda item: places.get(f"{item.path.parent.name}/{item.path.stem}", last))
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.timeout(8 * 3600))


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item) -> None:
    """Restore the timeout after a failure: a test that was too slow may also hang in its cleanup.

    pytest cancels `faulthandler_timeout` at every failure.
    """
    if seconds := float(node.config.getini("faulthandler_timeout")):
        faulthandler.dump_traceback_later(
            seconds, exit=True, file=node.config.stash[fault_handler_stderr_fd_key]
        )


# A shell that starts the tests in the background may ignore signals, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


crashed: set[str] = set()


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str) -> None:
    crashed.add(crashitem)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep a test whose worker crashed among those that failed: xdist has run it again, and its
    second result replaced the first."""
    if last_failed := session.config.pluginmanager.get_plugin("lfplugin"):
        last_failed.lastfailed.update(dict.fromkeys(crashed, True))


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the state that runs save about this machine in a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """One supervisor for all tests, so that its fork server imports everything only once."""
    with Laboratory(tmp_path_factory.mktemp("laboratory")) as running:
        yield running


@pytest.fixture(scope="module", params=list(ARRANGEMENTS))
def blog(request: pytest.FixtureRequest, laboratory: Laboratory) -> Iterator[RunningBlog]:
    """A blog in each arrangement in turn: these tests must pass in all of them."""
    name = f"{request.module.__name__}-{request.param}"
    with laboratory.blog(request.param, name) as running:
        yield running


@pytest.fixture(scope="module")
def bus_blog(request: pytest.FixtureRequest, laboratory: Laboratory) -> Iterator[RunningBlog]:
    """A blog on the bus."""
    with laboratory.blog("async-bus", f"{request.module.__name__}-told") as running:
        yield running


@pytest.fixture(scope="module")
def chain_blog(request: pytest.FixtureRequest, laboratory: Laboratory) -> Iterator[RunningBlog]:
    """A blog as a chain."""
    with laboratory.blog("sync-chain", f"{request.module.__name__}-asked") as running:
        yield running


@pytest.fixture(scope="module")
def blogs(
    request: pytest.FixtureRequest, laboratory: Laboratory
) -> Iterator[dict[str, RunningBlog]]:
    """All arrangements at once; at the end no log may contain a traceback."""
    with laboratory.blogs(f"{request.module.__name__}-all") as running:
        yield running
