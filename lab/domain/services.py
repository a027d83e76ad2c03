"""The services of the blog: what each one calls, publishes and consumes, and its ports.

A process that the lab starts gets a free port; the ports here are for blogs that stay up, so that
people can use curl. Those of the bus side are the ports of the well-known course, so that the
course's clients and services fit.
"""

SERVICES = ("posts", "comments", "moderation", "query")
BUS = "event-bus"
BUS_LOGIN = "LAB_BUS_LOGIN"
"""The environment variable for USER:PASSWORD or a token. It counts if a cluster's URL has no login,
and the lab sets it for the programs that it starts."""
HOPS = tuple(f"hop-{number}" for number in range(1, 9))
"""The additional services that a variant may have."""

MONOLITH = "monolith"
TWINS = ("sync-chain", "async-bus")

# ── Who calls, publishes and consumes what

ENTRY_POINTS = {"posts": "create_post", "comments": "create_comment", "query": "read_feed"}
"""The services that clients call, and the request that each one serves."""

CALLERS_OF: dict[str, tuple[str, ...]] = {
    "posts": ("comments", "query"),
    "comments": ("query",),
    "moderation": ("comments",),
    "query": (),
}
"""The callers of each service, where services request data from each other. The last one depends
on it the most: each of its requests needs the service."""

PUBLISHER_OF = {
    "PostCreated": "posts",
    "CommentCreated": "comments",
    "CommentModerated": "moderation",
    "CommentUpdated": "comments",
}
"""The publisher of each event, where services keep copies of each other's data."""

EVENT_CONSUMERS: dict[str, tuple[str, ...]] = {
    "PostCreated": ("comments", "query"),
    "CommentCreated": ("moderation", "query"),
    "CommentModerated": ("comments",),
    "CommentUpdated": ("query",),
}
"""The consumers of each event."""

NON_PUBLISHERS = tuple(name for name in SERVICES if name not in PUBLISHER_OF.values())
"""Services that publish nothing; a second replica of any other would publish everything twice."""

SUBSCRIBERS = ("posts", "comments", "query", "moderation")
"""The subscribers of the course's bus, in its order, which matters for one-by-one delivery."""

# ── Ports

BY_HAND_PORTS: dict[str, dict[str, int]] = {
    "async-bus": {"posts": 4000, "comments": 4001, "query": 4002, "moderation": 4003, BUS: 4005},
    "sync-chain": {"posts": 4100, "comments": 4101, "query": 4102, "moderation": 4103},
    "request-reply": {
        "posts": 4200,
        "comments": 4201,
        "query": 4202,
        "moderation": 4203,
        BUS: 4205,
    },
    "monolith": {MONOLITH: 4300},
}
HOP_PORTS = {"async-bus": 4010, "sync-chain": 4110}


def by_hand_port(arrangement: str, name: str) -> int:
    """The port of a service: 4001 for `comments` on the bus side, 4011 for its first hop."""
    if name in HOPS:
        return HOP_PORTS[arrangement] + 1 + HOPS.index(name)
    return BY_HAND_PORTS[arrangement].get(name) or HOP_PORTS[arrangement]


def by_hand_url(arrangement: str, name: str) -> str:
    """`http://127.0.0.1:4001` for `comments` on the bus side."""
    return f"http://127.0.0.1:{by_hand_port(arrangement, name)}"
