"""The control arrangement: the same services in one process, with one database.

The services call each other's handlers. No service can be down alone, and no request crosses a
network. What the other arrangements pay for their independence is measured against this one.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from lab.domain.services import BY_HAND_PORTS, MONOLITH
from lab.service import idempotency
from lab.service.server import Shell, ShellOptions
from lab.service.service import Service
from lab.sync_chain import comments, moderation, posts, query
from lab.sync_chain.ask.call import CallTransport

ARRANGEMENT = "monolith"
MEMBERS = (posts.service, comments.service, moderation.service, query.service)


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
    combined.routes = [route for part in MEMBERS for route in part.routes]
    if arguments.idempotency:
        combined.enable_idempotency()
    server = Shell(ARRANGEMENT, MONOLITH, combined.routes, ShellOptions.of(arguments))
    store = combined.open_store(arguments.data)
    transport = CallTransport({part.name: part for part in MEMBERS})
    for part in MEMBERS:
        part.use_store(store)
        part.transport = transport
    server.run()


if __name__ == "__main__":
    main()
