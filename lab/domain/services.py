"""Who is who: the services, and where each listens when it is started by hand.

Started by the lab, every process gets a free port instead; these are for people with curl.
The bus side has the ports of the well-known course, so that its clients and services fit.
"""

SERVICES = ("posts", "comments", "moderation", "query")
BUS = "event-bus"

SUBSCRIBERS = ("posts", "comments", "query", "moderation")
"""Whom the course's bus tells, in the course's order; where it tells them in turn, that is fate."""

HOPS = tuple(f"hop-{number}" for number in range(1, 9))
"""The services that a variant may have besides."""

MONOLITH = "monolith"
TWINS = ("sync-chain", "async-bus")

BY_HAND_PORTS: dict[str, dict[str, int]] = {
    "async-bus": {"posts": 4000, "comments": 4001, "query": 4002, "moderation": 4003, BUS: 4005},
    "sync-chain": {"posts": 4100, "comments": 4101, "query": 4102, "moderation": 4103},
    "request-reply": {
        **{"posts": 4200, "comments": 4201, "query": 4202, "moderation": 4203, BUS: 4205}
    },
    "monolith": {MONOLITH: 4300},
}


HOP_PORTS = {"async-bus": 4010, "sync-chain": 4110}


def by_hand_port(arrangement: str, name: str) -> int:
    """4001 for comments on the bus side; 4011 for its first hop."""
    if name in HOPS:
        return HOP_PORTS[arrangement] + 1 + HOPS.index(name)
    return BY_HAND_PORTS[arrangement].get(name) or HOP_PORTS[arrangement]


def by_hand_url(arrangement: str, name: str) -> str:
    """`http://127.0.0.1:4001` for comments on the bus side."""
    return f"http://127.0.0.1:{by_hand_port(arrangement, name)}"
