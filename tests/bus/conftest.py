"""One blog on the log, shared by these files, none of which stops a service of it."""

import itertools
from collections.abc import Iterator

import pytest

from tests.support.laboratory import Laboratory, RunningBlog

_numbers = itertools.count()  # new names: other tests may run between two of these files


@pytest.fixture(scope="package")
def bus_blog(laboratory: Laboratory) -> Iterator[RunningBlog]:
    with laboratory.blog("async-bus", f"bus-{next(_numbers)}") as running:
        yield running
