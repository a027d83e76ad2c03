"""One blog on the log for all these files, none of which stops a service of it."""

import itertools
from collections.abc import Iterator

import pytest

from tests.support.laboratory import Blog, Laboratory

_numbers = itertools.count()  # Between two of these files, others may run: then it is another blog.


@pytest.fixture(scope="package")
def bus_blog(laboratory: Laboratory) -> Iterator[Blog]:
    with laboratory.blog("async-bus", f"bus-{next(_numbers)}") as running:
        yield running
