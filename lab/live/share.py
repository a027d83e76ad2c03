"""The door for lookers-on in the same network: they may look, and that is all.

A listener of its own, which is not there unless it is asked for. It has only the doors that are
marked as shared, none of which changes anything; no cookie is given or taken. What they ask for is
answered once for all of them, so that two hundred readers are no load.
"""

import socket
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from lab.live.blog import Blog
from lab.live.routes import Door
from lab.live.security import loopback_hosts, own_addresses
from lab.live.server import Desk, streaming
from lab.live.session import Session
from lab.web import Route

_LOOK_AGAIN_S = 5.0


class OwnHosts:
    """The names this machine goes by at a port. Looked up now and then: networks come and go."""

    def __init__(self, port: int) -> None:
        self._port, self._looked_at_s = port, float("-inf")
        self._known: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        if perf_counter() - self._looked_at_s > _LOOK_AGAIN_S:
            self._looked_at_s = perf_counter()
            own = {f"{address}:{self._port}" for address in own_addresses()}
            # Nobody is asked for more names: in a classroom without a network that takes seconds.
            name = socket.gethostname()
            names = {f"{name}:{self._port}", f"{name}.local:{self._port}"}
            self._known = loopback_hosts(self._port) | own | names
        return self._known


def shared_doors(doors: Sequence[Door], session: Session) -> list[Door]:
    """Those that are shared, with their own stream and their own look at the blog."""
    blog = Blog(session)

    async def feed(half: str) -> object:
        # Without `newest`: an answer that is kept for all can't be another one for each.
        return await blog.feed(half)

    instead = {
        "/api/stream": Route("GET", "/api/stream", streaming(session.show, "watcher"), raw=True),
        "/api/blog": Route("GET", "/api/blog", feed),
    }
    return [
        replace(door, route=instead.get(door.route.path, door.route), open=True)
        for door in doors
        if door.shared
    ]


def shared_desk(doors: Sequence[Door], session: Session, port: int) -> Desk:
    return Desk(shared_doors(doors, session), OwnHosts(port), None)


def addresses(port: int) -> list[str]:
    """What to write on the blackboard."""
    return [f"http://{address}:{port}/" for address in own_addresses()]
