"""The keys of the console in a terminal: the same as on the page, and what each of them does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from lab.cluster.errors import LabCannotRun
from lab.domain.errors import ServiceError
from lab.live.blog import Blog
from lab.live.script import Script
from lab.live.session import Session
from lab.live.terminal_view import SCOPES, TARGETS, Screen

SLOW_MS, FAIL_SHARE = 300, 0.5
FASTER = 1.5
MOST_RATE = 300.0

MIXES: tuple[dict[str, float], ...] = (
    {"read_feed": 6, "create_post": 1, "create_comment": 3},
    {"read_feed": 9, "create_post": 0.3, "create_comment": 0.7},
    {"read_feed": 2, "create_post": 2, "create_comment": 6},
)

ASKED_BY = {"posts": "query", "comments": "query", "moderation": "comments", "query": "client"}
"""Whom a partition cuts off: of those that ask a service, the one whom it hurts most."""

Act = Callable[[], Awaitable[None] | None]


class Keys:
    """What each key does."""

    def __init__(self, screen: Screen, session: Session, script: Script | None) -> None:
        self.screen, self._session, self._script = screen, session, script
        self._blog = Blog(session)
        self._mix = 0
        self._post_ids: dict[str, str] = {}
        self.table: dict[str, tuple[str, Act]] = {
            **{str(n): (name, self._choosing(name)) for n, name in enumerate(TARGETS, 1)},
            "k": ("kill", lambda: self._break("down", lambda half: {})),
            "h": ("hang", lambda: self._break("hang", lambda half: {})),
            "s": ("slow", lambda: self._break("latency", lambda half: {"ms": SLOW_MS})),
            "f": ("fail", lambda: self._break("error", lambda half: {"probability": FAIL_SHARE})),
            "x": ("cut off", lambda: self._break("partition", self._whom_to_cut)),
            "u": ("heal", lambda: self._heal(self.screen.target)),
            "0": ("heal all", lambda: self._heal(None)),
            "q": ("left only", lambda: self._act_on("left")),
            "w": ("both", lambda: self._act_on("both")),
            "e": ("right only", lambda: self._act_on("right")),
            "+": ("more load", lambda: self._rate(FASTER)),
            "-": ("less load", lambda: self._rate(1 / FASTER)),
            "m": ("another mix", self._next_mix),
            "n": ("write a post", self._post),
            "c": ("write a comment", self._comment),
            "r": ("reset", self._reset),
            " ": ("next step, or pause", self._space),
            ".": ("pause", self._pause),
            "b": ("the last minute again", self._replay),
            "?": ("these keys", self._help),
        }

    @property
    def shown(self) -> list[tuple[str, str]]:
        return [("Space" if key == " " else key, says) for key, (says, _) in self.table.items()]

    async def press(self, key: str) -> None:
        """Do what the key is for; what can't be done is said in the log."""
        screen = self.screen
        asked, screen.asks = screen.asks, ""
        if asked and key == "r":
            key = "R"
        try:
            if key == "R":
                halves = self._session.halves
                await self._session.begin(halves, "Started anew, with nothing in it.")
            elif key.lower() in self.table:
                done = self.table[key.lower()][1]()
                if done is not None:
                    await done
        except ServiceError as error:
            screen.log.append(error.detail)
        except LabCannotRun as error:
            screen.log.append(str(error))

    def _choosing(self, name: str) -> Act:
        def choose() -> None:
            self.screen.target = name

        return choose

    def _act_on(self, scope: str) -> None:
        self.screen.scope = scope

    def _where(self) -> list[str]:
        """The halves that are meant, and have the target."""
        place = SCOPES.index(self.screen.scope)
        halves = list(self._session.halves)
        meant = halves if place == 1 else [halves[place // 2]]
        return [half.name for half in meant if self.screen.target in half.built.targets]

    async def _break(self, kind: str, options: Callable[[str], dict[str, Any]]) -> None:
        self._session.require_up()
        where, target = self._where(), self.screen.target
        if not where:
            self.screen.log.append(f"There is no {target} here. Choose another target.")
        put = self._session.board.put
        await asyncio.gather(*(put(kind, target, options(half), half) for half in where))

    def _whom_to_cut(self, half: str) -> dict[str, Any]:
        if self.screen.target == "event-bus":
            return {"from": "comments"}
        built = next(one.built for one in self._session.halves if one.name == half)
        tells = built.ask_by is None
        return {"from": "event-bus" if tells else ASKED_BY[self.screen.target]}

    async def _heal(self, target: str | None) -> None:
        self._session.require_up()
        halves = [None] if self.screen.scope == "both" else self._where()
        for half in halves:
            await self._session.board.heal(target, None, half)

    def _rate(self, factor: float) -> None:
        self._session.require_up()
        self._session.set_load(min(MOST_RATE, round(self._session.rate * factor) or 1), None)

    def _next_mix(self) -> None:
        self._session.require_up()
        self._mix = (self._mix + 1) % len(MIXES)
        self._session.set_load(None, MIXES[self._mix])

    async def _post(self) -> None:
        for half in self._where_any():
            told = await self._blog.post(half, "A post from the terminal")
            self._post_ids[half] = (told.get("body") or {}).get("id", "")
            self.screen.log.append(f"{half}: a post: {told.get('error') or told['status']}")

    async def _comment(self) -> None:
        for half in self._where_any():
            told = await self._blog.comment(half, self._post_ids.get(half) or "none", "A comment")
            self.screen.log.append(f"{half}: a comment: {told.get('error') or told['status']}")

    def _where_any(self) -> list[str]:
        place = SCOPES.index(self.screen.scope)
        names = [half.name for half in self._session.halves]
        return names if place == 1 else [names[place // 2]]

    def _reset(self) -> None:
        self.screen.asks = "Start anew, with nothing in it? r again does it, any other key doesn't."

    async def _space(self) -> None:
        if self._script is None:
            self._pause()
        else:
            await self._script.step()

    def _pause(self) -> None:
        screen = self.screen
        screen.frozen = None if screen.frozen is not None else list(screen.shown)

    def _replay(self) -> None:
        self.screen.frozen = None
        self.screen.behind = 0 if self.screen.behind else max(0, len(self.screen.ticks) - 1)

    def _help(self) -> None:
        self.screen.help = not self.screen.help
