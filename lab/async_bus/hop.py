"""Hop: owns nothing; comments pass through it on their way to the feed.

Calls:     nothing
Publishes: CommentCreated, CommentUpdated
Consumes:  CommentCreated, CommentUpdated (from comments, or the hop before)
"""

from lab.async_bus.stack import BusService, Change, program
from lab.domain.events import CommentCreated, CommentUpdated
from lab.domain.model import HopInfo

service = BusService("hop")

# ── What a client may ask of us ───────────────────────────────────────────


@service.get("/part", local=True)
def get_info() -> HopInfo:
    return HopInfo(of=service.name)


# ── How we learn what others know ─────────────────────────────────────────


@service.on(CommentCreated)
def forward(comment: CommentCreated, change: Change) -> None:
    change.tell(CommentCreated(**comment.model_dump()))


@service.on(CommentUpdated)
def forward_update(comment: CommentUpdated, change: Change) -> None:
    change.tell(CommentUpdated(**comment.model_dump()))


main = program(service)

if __name__ == "__main__":
    main()
