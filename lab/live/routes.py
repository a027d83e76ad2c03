"""The table of routes of the console, each with its access rule.

`open`: needs no cookie. `shared`: served to spectators too, on the second listener. Every method
other than GET counts as a change, and must pass the checks for changes.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from lab.domain.errors import Forbidden, Invalid, NotFound
from lab.live.blog import BlogClient
from lab.live.panes import ENGINES, make_panes
from lab.live.script import Script, list_demonstrations
from lab.live.security import Credentials
from lab.live.session import Session
from lab.live.slow_motion import SlowMotion
from lab.load.continuous import LoadChange
from lab.service.http import Route

ENTER_PATH = "/api/enter"
"""A successful request there gets the cookie."""
Text = Annotated[str, Field(max_length=20_000)]


@dataclass(frozen=True)
class AccessRoute(Route):
    """A route with its access rule."""

    open: bool = False
    shared: bool = False

    @property
    def mutates(self) -> bool:
        return self.method != "GET"


class _RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenRequest(_RequestBody):
    token: Text


class PaneFaultRequest(_RequestBody):
    """The body of a fault request. `half` None: both panes."""

    kind: Text
    target: Text
    options: dict[str, Any] = {}
    half: Text | None = None


class PaneHealRequest(_RequestBody):
    """The body of a heal request. A field that is None matches everything."""

    target: Text | None = None
    kind: Text | None = None
    half: Text | None = None


class ResetRequest(_RequestBody):
    """The body of a reset: arrangements and bus engine; None keeps the current one."""

    left: Text | None = None
    right: Text | None = None
    engine: Text | None = None


class NewPost(_RequestBody):
    half: Text
    title: Text


class NewComment(_RequestBody):
    half: Text
    post_id: Text
    content: Text


class StepRequest(_RequestBody):
    """The body of a step of the script: the next one, one back, or the last one once more."""

    do: Literal["next", "back", "again"] = "next"


class FollowRequest(_RequestBody):
    """The body of a request for slow motion: `comment`, `post`, `read` or `missing`."""

    what: Text


class ScriptRequest(_RequestBody):
    """The body of the start of a demonstration: the name of a built-in scenario."""

    name: Text


def route_table(
    session: Session,
    credentials: Credentials,
    script: Script,
    static: Callable[[web.BaseRequest], Any],
    stream: Callable[[web.BaseRequest], Any],
    on_feed: Callable[[str, Any], None] = lambda pane, answer: None,
    slow_motion: SlowMotion | None = None,
) -> Sequence[AccessRoute]:
    """The routes of the console. `static` and `stream` are the handlers of raw routes; `on_feed`
    gets what a presenter's screen shows of the blog."""
    blog = BlogClient(session)

    async def enter(body: TokenRequest) -> web.Response:
        if not credentials.accepts(body.token):
            raise Forbidden("This is not the token of this console: open the address it printed.")
        return web.Response(status=204)

    async def fault(body: PaneFaultRequest) -> Any:
        session.require_up()
        actions = await session.fault_controller.inject(
            body.kind, body.target, body.options, body.half
        )
        return {"deeds": [asdict(deed) for deed in actions]}

    async def heal(body: PaneHealRequest) -> Any:
        session.require_up()
        actions = await session.fault_controller.heal(body.target, body.kind, body.half)
        return {"deeds": [asdict(deed) for deed in actions]}

    async def load(body: LoadChange) -> Any:
        session.require_up()
        return session.set_load(body.rate, body.mix)

    async def reset(body: ResetRequest) -> Any:
        await session.start_panes(
            _choose_panes(session, body), "Both blogs restarted with no data."
        )
        return {"epoch": session.broadcast.epoch}

    async def step(body: StepRequest) -> Any:
        takes = {"next": script.advance, "back": script.back, "again": script.again}
        return await takes[body.do]()

    async def scenarios() -> Any:
        return await asyncio.to_thread(list_demonstrations)

    async def start_script(body: ScriptRequest) -> Any:
        return await script.start(body.name)

    async def post(body: NewPost) -> Any:
        return await blog.post(body.half, body.title)

    async def comment(body: NewComment) -> Any:
        return await blog.comment(body.half, body.post_id, body.content)

    async def feed(half: Text, newest: Text = "") -> Any:
        answer = await blog.feed(half, newest)
        on_feed(half, answer)
        return answer

    async def follow(body: FollowRequest) -> Any:
        return await _found(slow_motion).follow(body.what)

    async def still(n: Text = "", half: Text = "") -> web.Response:
        # `n` is the number of the drawing: it makes its address new for the browser. The drawing
        # shows both halves, whichever one is asked for.
        drawn = _found(slow_motion).still()
        return web.Response(text=drawn, content_type="image/svg+xml")

    return (
        AccessRoute("GET", "/", static, raw=True, open=True, shared=True),
        AccessRoute("GET", "/static/{name}", static, raw=True, open=True, shared=True),
        AccessRoute("GET", "/api/stream", stream, raw=True, shared=True),
        AccessRoute("GET", "/api/blog", feed, shared=True),
        AccessRoute("POST", ENTER_PATH, enter, open=True),
        AccessRoute("POST", "/api/fault", fault),
        AccessRoute("POST", "/api/heal", heal),
        AccessRoute("POST", "/api/load", load),
        AccessRoute("POST", "/api/reset", reset),
        AccessRoute("POST", "/api/step", step),
        AccessRoute("GET", "/api/scenarios", scenarios),
        AccessRoute("POST", "/api/script", start_script),
        AccessRoute("POST", "/api/post", post),
        AccessRoute("POST", "/api/comment", comment),
        AccessRoute("POST", "/api/follow", follow),
        AccessRoute("GET", "/api/still.svg", still),
    )


def _found(slow_motion: SlowMotion | None) -> SlowMotion:
    if slow_motion is None:
        raise NotFound("This console has no slow motion.")
    return slow_motion


def _choose_panes(session: Session, body: ResetRequest) -> Any:
    """The panes that the request names; the current panes, with their options, if it names none.

    Raises Invalid."""
    if body.engine is not None and body.engine not in ENGINES:
        known = ", ".join(ENGINES)
        raise Invalid(f"There is no engine {body.engine!r}. Known: {known}.", field="engine")
    if body.left is body.right is body.engine is None:
        return session.panes
    left, right = (pane.arrangement for pane in session.panes)
    engine = body.engine or next(
        (pane.options["bus"] for pane in session.panes if "bus" in pane.options), None
    )
    return make_panes((body.left or left, body.right or right), engine)
