"""One blog per arrangement, shared by these files, none of which stops a service of it."""

import itertools
from collections.abc import Iterator

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from tests.support.laboratory import Laboratory, RunningBlog

_numbers = itertools.count()  # new names: other tests may run between two of these files


@pytest.fixture(scope="package")
def blogs(laboratory: Laboratory) -> Iterator[dict[str, RunningBlog]]:
    """All arrangements at once; at the end no log may contain a traceback."""
    with laboratory.blogs(f"service-{next(_numbers)}") as running:
        yield running


@pytest.fixture(params=list(ARRANGEMENTS))
def blog(request: pytest.FixtureRequest, blogs: dict[str, RunningBlog]) -> RunningBlog:
    """A blog in each arrangement in turn: these tests must pass in all of them."""
    return blogs[request.param]


@pytest.fixture
def chain_blog(blogs: dict[str, RunningBlog]) -> RunningBlog:
    return blogs["sync-chain"]


@pytest.fixture
def bus_blog(blogs: dict[str, RunningBlog]) -> RunningBlog:
    return blogs["async-bus"]
