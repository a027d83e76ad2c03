"""What an outage cost: a card after each heal, and a score that only grows. Both from the ticks.

A card covers the time of one fault, in one half or in both. Of each half it has the requests of
that time by outcome, the oldest write that readers did not see, the writes that are missing for
good, and when the half was back to normal. Faults that overlap have a card each.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.live.commentary import CALM_MS, STALE_AFTER_S
from lab.live.snapshots import TICK_MS, Tick

KINDS = ("reads", "posts", "comments")
STEADY_S = 1.0
"""A half is back to normal when this long every answer was a success and the feed was fresh."""
BACK_WITHIN_S = 60.0
HEAL_TICKS = 300
"""A heal takes at most this many ticks, from its request until the process is known to be well."""


class Score:
    """Failed requests and seconds of a stale feed of one half, since its start."""

    def __init__(self) -> None:
        self.failed = 0
        self.stale_s = 0.0

    def add(self, pane: Mapping[str, Any]) -> dict[str, Any]:
        """Count one more tick; returns the score as the tick carries it."""
        self.failed += sum(pane[kind]["failed"] for kind in KINDS)
        if is_stale(pane):
            self.stale_s = round(self.stale_s + TICK_MS / 1_000, 1)
        return {"failed": self.failed, "stale_s": self.stale_s, "missing": pane["missing"]}


def is_stale(pane: Mapping[str, Any]) -> bool:
    """Whether readers get a feed without writes of more than a second ago, which are on their
    way. Missing writes are counted, not timed: their age would grow for ever."""
    is_late = pane["feed_age_ms"] >= 1_000 * STALE_AFTER_S and not pane["missing"]
    return bool(pane["feed_ok"] and is_late)


def is_normal(pane: Mapping[str, Any]) -> bool:
    """Whether nothing in this tick tells of an outage. A tick without an answer is normal."""
    read_ms = pane["read_ms"]
    return (
        not any(pane[kind]["failed"] for kind in KINDS)
        and bool(pane["feed_ok"])
        and (pane["missing"] > 0 or pane["feed_age_ms"] < 1_000 * STALE_AFTER_S)
        and all(node["up"] in (True, "slow") for node in pane["nodes"].values())
        and not any(node["queue"] for node in pane["nodes"].values())
        and (read_ms is None or read_ms["p50"] < CALM_MS)
    )


class HalfCount:
    """The requests of one half: those in flight, and those of the outage."""

    def __init__(self) -> None:
        self.in_flight = dict.fromkeys(KINDS, 0)
        self.normal_since_t: float | None = None
        self.has_read = False
        self._recent: deque[tuple[float, Mapping[str, Any]]] = deque(maxlen=HEAL_TICKS)
        self.begin()

    def fork(self) -> "HalfCount":
        """The count of an outage that begins now."""
        count = HalfCount()
        count.in_flight = dict(self.in_flight)
        count.normal_since_t, count.has_read = self.normal_since_t, self.has_read
        return count

    def begin(self) -> None:
        """An outage begins."""
        self.ok, self.failed = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
        self.unanswered = dict.fromkeys(KINDS, 0)
        self.oldest_ms, self.missing, self.had_feed = 0, 0, True

    def end(self, healed_t: float) -> None:
        """The outage ended then. Its requests without a response yet still belong to it."""
        later = [pane for t, pane in self._recent if t > healed_t]
        for kind in KINDS:
            ok, failed, sent = (
                sum(pane[kind][key] for pane in later) for key in ("ok", "failed", "sent")
            )
            self.ok[kind] = max(0, self.ok[kind] - ok)
            self.failed[kind] = max(0, self.failed[kind] - failed)
            self.unanswered[kind] = max(0, self.in_flight[kind] - sent + ok + failed)
        for pane in later:
            self._answer(pane)

    def add(self, pane: Mapping[str, Any], t: float, is_broken: bool) -> None:
        for kind in KINDS:
            answered = pane[kind]["ok"] + pane[kind]["failed"]
            in_flight = self.in_flight[kind] + pane[kind]["sent"] - answered
            # A restart of the load forgets its requests: no more can wait than it says.
            self.in_flight[kind] = min(max(0, in_flight), pane["waiting"])
            if is_broken:
                self.ok[kind] += pane[kind]["ok"]
                self.failed[kind] += pane[kind]["failed"]
        if not is_broken:
            self._answer(pane)
        self._recent.append((t, pane))
        self.missing = pane["missing"]
        if not pane["feed_ok"]:
            self.had_feed = self.had_feed and not is_broken
        elif not pane["missing"]:
            self.oldest_ms = max(self.oldest_ms, pane["feed_age_ms"])
        if not is_normal(pane):
            self.normal_since_t, self.has_read = None, False
        elif self.normal_since_t is None:
            self.normal_since_t = t
        self.has_read = self.has_read or (self.normal_since_t is not None and pane["reads"]["ok"])

    def _answer(self, pane: Mapping[str, Any]) -> None:
        """Responses to requests of the outage that had none at its end. Those of a tick have no
        order: the failures among them count first."""
        for kind in KINDS:
            failed = min(self.unanswered[kind], pane[kind]["failed"])
            ok = min(self.unanswered[kind] - failed, pane[kind]["ok"])
            self.failed[kind] += failed
            self.ok[kind] += ok
            self.unanswered[kind] -= failed + ok

    def requests(self) -> dict[str, Any]:
        """The requests of the outage; `all`: with those that have no response yet."""
        counts = {
            kind: {
                "ok": self.ok[kind],
                "all": self.ok[kind] + self.failed[kind] + self.unanswered[kind],
            }
            for kind in KINDS
        }
        return {**counts, "had_feed": self.had_feed}

    def back_s(self, healed_t: float, now_t: float) -> float | None:
        """Seconds from the heal until all was normal; None if it is not, or not long enough."""
        if self.normal_since_t is None or not self.has_read:
            return None
        if now_t - max(self.normal_since_t, healed_t) < STEADY_S:
            return None
        return round(max(0.0, self.normal_since_t - healed_t), 1)


@dataclass
class Card:
    """An outage. Times are seconds since the start of the stacks."""

    number: int
    began_t: float
    faults: list[Mapping[str, Any]] = field(default_factory=list)
    healed_t: float | None = None
    not_back: str = ""
    """Why it is not known when a half was back to normal."""
    counts: dict[str, HalfCount] = field(default_factory=dict)
    halves: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        assert self.healed_t is not None
        return {
            "n": self.number,
            "began_t": self.began_t,
            "healed_t": self.healed_t,
            "down_s": round(self.healed_t - self.began_t, 1),
            "faults": [
                {key: fault[key] for key in ("half", "target", "kind", "options")}
                for fault in self.faults
            ],
            "halves": {name: dict(half) for name, half in self.halves.items()},
            "not_back": self.not_back,
        }


def is_final(card: Mapping[str, Any]) -> bool:
    """Whether it is known of both halves when they were back to normal, or that it won't be."""
    return bool(card["not_back"]) or all(
        half["back_s"] is not None for half in card["halves"].values()
    )


class CardMaker:
    """Counts the ticks of one start of the stacks. `publish` gets each card when its fault is
    healed, and again when a half is back to normal."""

    def __init__(self, halves: Sequence[str], publish: Callable[[Mapping[str, Any]], None]) -> None:
        self._counts = {name: HalfCount() for name in halves}
        self._scores = {name: Score() for name in halves}
        self._number, self._publish = 1, publish
        self._active: dict[tuple[str, str], Card] = {}
        self._healed: list[Card] = []

    def set_faults(self, faults: Sequence[Mapping[str, Any]], t: float) -> None:
        """The active faults from now on. `t`: when the request began that changed them."""
        active: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for fault in faults:
            active.setdefault((fault["target"], fault["kind"]), []).append(fault)
        if active.keys() - self._active.keys():
            for card in self._healed:
                self._end_card(card, "not before the next fault")
            self._healed = []
        for key, same in active.items():
            card = self._active.get(key) or self._new_card(min(one["since_t"] for one in same))
            self._active[key] = card
            card.faults += [fault for fault in same if fault not in card.faults]
        for key in self._active.keys() - active.keys():
            self._heal(self._active.pop(key), t, sorted({target for target, _ in active}))

    def add_tick(self, tick: Tick) -> None:
        """Count a tick, and add the score of each half to it."""
        t = tick["t"]
        for name, count in self._counts.items():
            pane = tick["halves"][name]
            count.add(pane, t, False)
            for card in self._active.values():
                card.counts[name].add(pane, t, True)
            for card in self._healed:
                card.counts[name].add(pane, t, False)
            pane["score"] = self._scores[name].add(pane)
        for card in list(self._healed):
            assert card.healed_t is not None
            if self._complete(card, t):
                self._publish(card.to_json())
            if all(half["back_s"] is not None for half in card.halves.values()):
                self._healed.remove(card)
            elif t - card.healed_t > BACK_WITHIN_S:
                self._healed.remove(card)
                self._end_card(card, f"not within {BACK_WITHIN_S:.0f} s")

    def _new_card(self, began_t: float) -> Card:
        counts = {name: count.fork() for name, count in self._counts.items()}
        card = Card(self._number, began_t, counts=counts)
        self._number += 1
        return card

    def _heal(self, card: Card, t: float, still_broken: Sequence[str]) -> None:
        card.healed_t = t
        for name, count in card.counts.items():
            count.end(t)
            card.halves[name] = {}
        self._complete(card, t)
        if still_broken:
            self._end_card(card, f"not before {' and '.join(still_broken)} is healed")
        else:
            self._healed.append(card)
            self._publish(card.to_json())

    def _complete(self, card: Card, t: float) -> bool:
        """Fill in what is known at `t`; returns whether one more half is back to normal."""
        assert card.healed_t is not None
        is_news = False
        for name, count in card.counts.items():
            half = card.halves[name]
            half |= {**count.requests(), "missing": count.missing}
            if half.get("back_s") is None:
                half["oldest_s"] = round(count.oldest_ms / 1_000, 1)
                half["back_s"] = count.back_s(card.healed_t, t)
                is_news = is_news or half["back_s"] is not None
        return is_news

    def _end_card(self, card: Card, why: str) -> None:
        card.not_back = why
        self._publish(card.to_json())
