"""One blog in each arrangement for all these files, none of which stops a service of it."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from tests.support.laboratory import Blog, Laboratory

_numbers = itertools.count()  # Between two of these files, others may run: then these are others.


@pytest.fixture(scope="package")
def blogs(laboratory: Laboratory) -> Iterator[dict[str, Blog]]:
    """All arrangements at once; after everything that was done to them, no log has a traceback."""
    with ExitStack() as held:
        running = {
            name: held.enter_context(laboratory.blog(name, f"service-{next(_numbers)}-{name}"))
            for name in ARRANGEMENTS
        }
        yield running
        for blog in running.values():
            for target in blog.stack.arrangement.targets:
                assert blog.ask("GET", target, "/health").ok, target
                assert "Traceback" not in blog.log(target), blog.log(target)


@pytest.fixture(params=list(ARRANGEMENTS))
def blog(request: pytest.FixtureRequest, blogs: dict[str, Blog]) -> Blog:
    """One of them: what holds for one must hold for all."""
    return blogs[request.param]


@pytest.fixture
def chain_blog(blogs: dict[str, Blog]) -> Blog:
    return blogs["sync-chain"]


@pytest.fixture
def bus_blog(blogs: dict[str, Blog]) -> Blog:
    return blogs["async-bus"]
