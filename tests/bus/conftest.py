"""One blog on the log for all these files, none of which stops a service of it."""

from collections.abc import Iterator

import pytest

from tests.support.laboratory import Blog, Laboratory


@pytest.fixture(scope="package")
def bus_blog(laboratory: Laboratory) -> Iterator[Blog]:
    with laboratory.blog("async-bus", "bus") as running:
        yield running
