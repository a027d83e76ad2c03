"""The table of routes of the console, each with its access rule.

`open`: needs no cookie. `shared`: served to spectators too, on the second listener. Every method
other than GET counts as a change, and must pass the checks for changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from lab.domain.errors import Forbidden, Invalid
from lab.live.blog import Blog
from lab.live.panes import ENGINES, halves
from lab.live.script import Script
from lab.live.security import Keys
from lab.live.session import Session
from lab.load.continuous import Wish
from lab.service.http import Route

Text = Annotated[str, Field(max_length=20_000)]


@dataclass(frozen=True)
class Door:
    """A route and its access rule. The handler of a `raw` route gets the request itself."""

    route: Route
    open: bool = False
    shared: bool = False

    @property
    def changes(self) -> bool:
        return self.route.method != "GET"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Token(_Body):
    token: Text


class FaultWish(_Body):
    """The body of a fault request. `half` None: both panes."""

    kind: Text
    target: Text
    options: dict[str, Any] = {}
    half: Text | None = None


class HealWish(_Body):
    """The body of a heal request. A field that is None matches everything."""

    target: Text | None = None
    kind: Text | None = None
    half: Text | None = None


class ResetWish(_Body):
    """The body of a reset: arrangements and bus engine; None keeps the current one."""

    left: Text | None = None
    right: Text | None = None
    engine: Text | None = None


class NewPost(_Body):
    half: Text
    title: Text


class NewComment(_Body):
    half: Text
    post_id: Text
    content: Text


class Nothing(_Body):
    pass


def doors(
    session: Session,
    keys: Keys,
    script: Script | None,
    static: Callable[[web.BaseRequest], Any],
    stream: Callable[[web.BaseRequest], Any],
) -> Sequence[Door]:
    """The routes of the console. `static` and `stream` are the handlers of raw routes."""
    blog = Blog(session)

    async def enter(body: Token) -> web.Response:
        if not keys.opens(body.token):
            raise Forbidden("This is not the token of this console: open the address it printed.")
        return web.Response(status=204, headers={"Set-Cookie": keys.set_cookie()})

    async def fault(body: FaultWish) -> Any:
        session.require_up()
        deeds = await session.board.put(body.kind, body.target, body.options, body.half)
        return {"deeds": [asdict(deed) for deed in deeds]}

    async def heal(body: HealWish) -> Any:
        session.require_up()
        deeds = await session.board.heal(body.target, body.kind, body.half)
        return {"deeds": [asdict(deed) for deed in deeds]}

    async def load(body: Wish) -> Any:
        session.require_up()
        return session.set_load(body.rate, body.mix)

    async def reset(body: ResetWish) -> Any:
        await session.begin(_chosen(session, body), "Started anew, with nothing in it.")
        return {"epoch": session.show.epoch}

    async def step(body: Nothing) -> Any:
        if script is None:
            raise Invalid("There is no script here: start with `lab live --script FILE`.")
        return await script.step()

    async def post(body: NewPost) -> Any:
        return await blog.post(body.half, body.title)

    async def comment(body: NewComment) -> Any:
        return await blog.comment(body.half, body.post_id, body.content)

    async def feed(half: Text, newest: Text = "") -> Any:
        return await blog.feed(half, newest)

    return (
        Door(Route("GET", "/", static, raw=True), open=True, shared=True),
        Door(Route("GET", "/static/{name}", static, raw=True), open=True, shared=True),
        Door(Route("GET", "/api/stream", stream, raw=True), shared=True),
        Door(Route("GET", "/api/blog", feed), shared=True),
        Door(Route("POST", "/api/enter", enter), open=True),
        Door(Route("POST", "/api/fault", fault)),
        Door(Route("POST", "/api/heal", heal)),
        Door(Route("POST", "/api/load", load)),
        Door(Route("POST", "/api/reset", reset)),
        Door(Route("POST", "/api/step", step)),
        Door(Route("POST", "/api/post", post)),
        Door(Route("POST", "/api/comment", comment)),
    )


def _chosen(session: Session, body: ResetWish) -> Any:
    """The panes that the request names; the current panes, with their options, if it names none.

    Raises Invalid."""
    if body.engine is not None and body.engine not in ENGINES:
        known = ", ".join(ENGINES)
        raise Invalid(f"There is no engine {body.engine!r}. Known: {known}.", field="engine")
    if body.left is body.right is body.engine is None:
        return session.halves
    left, right = (half.arrangement for half in session.halves)
    engine = body.engine or next(
        (half.options["bus"] for half in session.halves if "bus" in half.options), None
    )
    return halves((body.left or left, body.right or right), engine)
