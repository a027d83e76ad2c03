"""The control arrangement: the same services in one process, with one database.

The services call each other's handlers, and all that a request writes is one transaction: a
comment is never stored without its verdict, nor a verdict without its comment. No service can be
down alone, and no request crosses a network. What the other arrangements pay for their independence
is measured against this one.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from lab.domain.services import BY_HAND_PORTS, MONOLITH
from lab.service import idempotency
from lab.service.server import Shell, ShellOptions
from lab.service.service import Service
from lab.service.store import Store, Transaction
from lab.sync_chain import comments, moderation, posts, query
from lab.sync_chain.ask.call import CallTransport

ARRANGEMENT = "monolith"
MEMBERS = (posts.service, comments.service, moderation.service, query.service)


_current: ContextVar[Transaction | None] = ContextVar("transaction", default=None)


class RequestStore(Store):
    """A database in which all transactions of one request are one."""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Join the transaction of this request; without one, begin and commit one."""
        if (current := _current.get()) is not None:
            yield current
            return
        with super().transaction() as change:
            token = _current.set(change)
            try:
                yield change
            finally:
                _current.reset(token)


def _in_one_transaction(store: Store, handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler of a write, with one transaction around all that it calls."""

    @wraps(handler)
    def handle(**arguments: Any) -> Any:
        with store.transaction():
            return handler(**arguments)

    return handle


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.sync_chain.monolith",
        description="The whole blog in one process, with one database.",
        epilog=f"Try: curl http://127.0.0.1:{BY_HAND_PORTS[ARRANGEMENT][MONOLITH]}/feed",
    )
    ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][MONOLITH])
    parser.add_argument("--data", type=Path, default=Path("runs/by-hand/monolith"))
    idempotency.add_argument(parser)
    arguments = parser.parse_args(argv)
    combined = Service(ARRANGEMENT, MONOLITH, "".join(part.schema for part in MEMBERS))
    store = combined.open_store(arguments.data, RequestStore)
    combined.routes = [
        replace(route, handler=_in_one_transaction(store, route.handler))
        if route.method == "POST"
        else route
        for part in MEMBERS
        for route in part.routes
    ]
    if arguments.idempotency:
        combined.enable_idempotency()
    server = Shell(ARRANGEMENT, MONOLITH, combined.routes, ShellOptions.of(arguments))
    transport = CallTransport({part.name: part for part in MEMBERS})
    for part in MEMBERS:
        part.use_store(store)
        part.transport = transport
    server.run()


if __name__ == "__main__":
    main()
