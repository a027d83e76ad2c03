"""Who is who: the services, and where each listens when it is started by hand.

Started by the lab, every process gets a free port instead; these are for people with curl.
The bus side has the ports of the well-known course, so that its clients and services fit.
"""

SERVICES = ("posts", "comments", "moderation", "query")
BUS = "event-bus"

SUBSCRIBERS = ("posts", "comments", "query", "moderation")
"""Whom the course's bus tells, in the course's order; where it tells them in turn, that is fate."""

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


def by_hand_url(arrangement: str, name: str) -> str:
    """`http://127.0.0.1:4001` for comments on the bus side."""
    return f"http://127.0.0.1:{BY_HAND_PORTS[arrangement][name]}"
