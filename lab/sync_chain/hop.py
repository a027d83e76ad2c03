"""Hop: owns nothing; comments pass through it on their way to the feed.

Asks:  comments (what was said? The next hop may answer for them)
Tells: nobody
Hears: nothing
"""

from lab.domain.model import Comment, Part
from lab.sync_chain.stack import ChainService, program

service = ChainService("hop")

# ── What a client may ask of us ───────────────────────────────────────────


@service.get("/comments")
def pass_on(post_ids: str) -> list[Comment]:
    know_others()
    return know_comments(post_ids) if post_ids else []


@service.get("/part")
def get_part() -> Part:
    return Part(of=service.name)


# ── How we learn what others know ─────────────────────────────────────────


def know_others() -> list[Part]:
    names = service.also_asks
    return [Part(**service.ask(name, "GET", "/part")) for name in names]


def know_comments(post_ids: str) -> list[Comment]:
    theirs = service.ask("comments", "GET", "/comments", post_ids=post_ids)
    return [Comment(**row) for row in theirs]


main = program(service)

if __name__ == "__main__":
    main()
