"""Hop: owns nothing; comments pass through it on their way to the feed.

Calls:     comments (what was said? The next hop may answer for them)
Publishes: nothing
Consumes:  nothing
"""

from lab.domain.model import Comment, HopInfo
from lab.sync_chain.stack import ChainService, program

service = ChainService("hop")

# ── What a client may ask of us ───────────────────────────────────────────


@service.get("/comments")
def forward(post_ids: str) -> list[Comment]:
    call_others()
    return learn_comments(post_ids) if post_ids else []


@service.get("/part")
def get_info() -> HopInfo:
    return HopInfo(of=service.name)


# ── How we learn what others know ─────────────────────────────────────────


def call_others() -> list[HopInfo]:
    names = service.extra_callees
    return [HopInfo(**service.ask(name, "GET", "/part")) for name in names]


def learn_comments(post_ids: str) -> list[Comment]:
    rows = service.ask("comments", "GET", "/comments", post_ids=post_ids)
    return [Comment(**row) for row in rows]


main = program(service)

if __name__ == "__main__":
    main()
