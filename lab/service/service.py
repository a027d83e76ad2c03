"""The declaration of a service: its name, the tables it owns, its routes.

A declaration connects to nothing and opens nothing. The service's program opens the database once;
tests use another one.
"""

import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from lab.domain.model import continue_ids_after
from lab.service import idempotency
from lab.service.http import Route
from lab.service.store import ForeignDatabase, Store, Transaction, is_machine_error
from lab.support.files import create_private_folder

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Service:
    """A service's declaration. `schema`: the SQL that creates its tables."""

    def __init__(self, arrangement: str, name: str, schema: str = "") -> None:
        self.arrangement = arrangement
        self.name = name
        self.schema = schema
        self.routes: list[Route] = []
        self._store: Store | None = None

    def get(self, path: str, *, local: bool = False) -> Callable[[Handler], Handler]:
        """Answer GET requests for a path: `@service.get("/posts/{post_id}")`.

        `local`: the handler waits for nothing and for no other service (see `Route`).
        """
        return self._route("GET", path, 200, local)

    def post(self, path: str, status: int = 201) -> Callable[[Handler], Handler]:
        """Answer POST requests for a path."""
        return self._route("POST", path, status)

    def _route(
        self, method: str, path: str, status: int, local: bool = False
    ) -> Callable[[Handler], Handler]:
        def declare(handler: Handler) -> Handler:
            self.routes.append(Route(method, path, handler, status, local=local))
            return handler

        return declare

    def enable_idempotency(self) -> None:
        """Answer each repeated Idempotency-Key with the first answer, on all POST routes so far."""
        wrap = idempotency.IdempotencyFilter(lambda: self.store).wrap
        self.routes = [
            replace(route, handler=wrap(route.handler)) if route.method == "POST" else route
            for route in self.routes
        ]

    @staticmethod
    def remember_answer(change: Transaction, answer: BaseModel) -> None:
        """Store an answer in the rows' own transaction, if the request has a key."""
        if (key := idempotency.answer_key.get()) is not None:
            insert = "INSERT INTO answers VALUES (?, ?, ?)"
            change.execute(insert, *key, answer.model_dump_json())

    @property
    def source(self) -> str:
        """The service's name in its events and its database: `/async-bus/comments`."""
        return f"/{self.arrangement}/{self.name}"

    @property
    def store(self) -> Store:
        """The service's own database. Raises RuntimeError before the service runs."""
        if self._store is None:
            raise RuntimeError(
                f"{self.name} is not running: its database is opened by its program."
            )
        return self._store

    def use_store(self, store: Store) -> None:
        """Use a database that is already open: that of a process with several services."""
        self._store = store

    def open_store(self, folder: Path, kind: type[Store] = Store) -> Store:
        """Open `<folder>/<name>.db` as this service's database; new ids follow those in it.

        Exits the process with status 3 when the file belongs to another service, another process
        has it open, or the disk does not take it.
        """
        path = folder / f"{self.name}.db"
        try:
            create_private_folder(folder)
            self._store = kind(path, idempotency.TABLE + self.schema, self.source)
            for newest in self._store.newest_ids():
                continue_ids_after(newest)
        except ForeignDatabase as error:
            sys.stderr.write(f"{error} Or choose another folder with --data.\n")
            sys.exit(3)
        except (OSError, sqlite3.DatabaseError) as error:
            if not is_machine_error(error):
                raise
            reason = error.strerror if isinstance(error, OSError) else error
            sys.stderr.write(
                f"{path} can't be read or written ({reason}). Is the disk full, read-only or "
                "broken, or the file damaged? Repair it, or choose another folder with --data.\n"
            )
            sys.exit(3)
        return self._store
