"""Opens a service's database inside this process, as its program would."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lab.service.service import Service


@contextmanager
def open_database(service: Service, folder: Path) -> Iterator[None]:
    before = service._store
    try:
        with closing(service.open_store(folder)):
            yield
    finally:
        service._store = before
