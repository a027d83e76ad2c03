"""Says in a sentence what a history did, and what came of it."""

from collections.abc import Sequence

from lab.simulation.histories.disk import AFTER, BEFORE
from lab.simulation.histories.history import WRITES, Deed, Verdict
from lab.simulation.histories.judge import Goal, Judgement
from lab.simulation.histories.world import World


def describe(deed: Deed) -> str:
    """A deed, as a clause: `event-bus` crashes."""
    name = f"`{deed.target}`"
    times = {1: "next event", 2: "next two events", 3: "next three events"}.get(
        deed.count, f"next {deed.count} events"
    )
    match deed.kind:
        case "post":
            return f"a client writes post {deed.write}"
        case "comment":
            on = f" on post {deed.post}" if deed.post > 0 else ""
            on = " on a post that does not exist" if deed.post < 0 else on
            what = "forbidden comment" if deed.forbidden else "comment"
            return f"a client writes {what} {deed.write}{on}"
        case "read":
            return "a client reads the feed"
        case "crash" if deed.point in (BEFORE, AFTER):
            which = {1: "its next", 2: "its second"}.get(deed.count, "its third")
            return f"{name} crashes {deed.point.split()[0]} {which} commit"
        case "crash":
            return f"{name} crashes"
        case "restart":
            return f"{name} starts again"
        case "restore":
            return f"{name} goes on with an old copy of its log"
        case "power cut":
            return f"{name} loses power"
        case "full disk":
            which = {1: "next", 2: "second", 3: "third"}.get(deed.count, f"{deed.count}th")
            return f"the disk of {name} refuses its {which} change"
        case "clock":
            return f"the clock of {name} goes back by {deed.ms:g} ms"
        case "repeat":
            return f"the client sends write {deed.write} again"
        case "partition":
            other = f"`{deed.peer}`" if deed.peer else "all others"
            return f"a partition cuts {name} off from {other}"
        case "heal":
            return "the network heals"
        case "slow":
            return f"what {name} sends and receives takes {deed.ms:g} ms longer"
        case "duplicate":
            return f"{name} receives its {times} twice"
        case "drop":
            return f"{name} loses its {times}"
        case "reorder":
            return f"{name} receives its {times} behind the one after"
        case _:
            return f"{deed.kind} {name}"


def verdict_of(goal: Goal, judgement: Judgement, deeds: Sequence[Deed], world: World) -> Verdict:
    """The verdict on a recorded history."""
    reached = goal.is_reached(judgement)
    writes = _writes_about(goal, judgement, world) if reached else ()
    clauses = [describe(deed) for deed in deeds]
    cause = f"{'; '.join(clauses)}."
    sentence = f"{cause[:1].upper()}{cause[1:]} {_effect(writes, judgement, world, deeds)}"
    return Verdict(goal.text, reached, sentence, judgement.figures, writes)


def _writes_about(goal: Goal, judgement: Judgement, world: World) -> tuple[int, ...]:
    if "stale_s" in goal.paths:
        return tuple(sorted(world.stale_writes))
    stored = judgement.stored
    if stored is None:
        return tuple(judgement.samples)
    found = []
    for number, sample in judgement.samples.items():
        token = sample.token
        copies = max(stored.by_owner[token], stored.in_feed[token], stored.by_moderation[token])
        wrong = {
            "lost": sample.ok and not stored.by_owner[token],
            "missing": sample.ok and not stored.decided_in_feed[token],
            "duplicated": copies > 1,
            "diverged": stored.by_owner[token] > 0 and not stored.decided_in_feed[token],
            "refused_kept": not sample.ok and sample.definite and copies > 0,
        }
        if any(wrong.get(path) for path in goal.paths):
            found.append(number)
    return tuple(found)


def _effect(
    writes: tuple[int, ...], judgement: Judgement, world: World, deeds: Sequence[Deed]
) -> str:
    kinds = {deed.write: deed.kind for deed in deeds if deed.kind in WRITES}
    parts = [
        _fate(f"{kinds.get(number, 'write').capitalize()} {number}", number, judgement, world)
        for number in writes[:2]
    ]
    if parts:
        return " ".join(parts)
    counted = [
        f"{name} {value:g}"
        for name, value in judgement.figures.items()
        if value and name not in ("acknowledged", "visible")
    ]
    return f"The checker counts: {', '.join(counted) or 'nothing wrong'}."


def _fate(name: str, number: int, judgement: Judgement, world: World) -> str:
    sample, stored = judgement.samples[number], judgement.stored
    outcome = (
        "was acknowledged"
        if sample.ok
        else "was refused"
        if sample.definite
        else "got no answer (its client knows nothing)"
    )
    if number in world.stale_writes:
        return f"{name} {outcome}, and a feed requested {world.stale_s:.3g} s later lacks it."
    if stored is None:
        return f"{name} {outcome}, and then a service did not answer any more."
    token = sample.token
    places = {
        "posts" if sample.endpoint == "create_post" else "comments": stored.by_owner[token],
        "query": stored.in_feed[token],
    }
    if sample.endpoint != "create_post":
        places["moderation"] = stored.by_moderation[token]
    has = [
        f"`{place}` has it" + (f" {times} times" if times > 1 else "")
        for place, times in places.items()
        if times
    ]
    lacks = [f"`{place}`" for place, times in places.items() if not times]
    pending = stored.feed_status.get(token) == "pending"
    text = f"{name} {outcome}; {', '.join(has) or 'no service has it'}"
    if lacks:
        text += f"; {' and '.join(lacks)} never {'get' if len(lacks) > 1 else 'gets'} it"
    if pending:
        text += "; the feed shows it as pending for ever"
    return f"{text}."
