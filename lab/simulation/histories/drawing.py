"""The space-time diagram of a history: the writes that it is about, and what was done to them."""

from lab.results.space_time import Arrow, Diagram, Mark, MarkKind, Stretch
from lab.simulation.histories.history import History, Message, Moment

_KINDS: dict[str, MarkKind] = {
    "commit": "commit",
    "acknowledged": "good",
    "refused": "bad",
    "unknown": "bad",
    "crash": "crash",
    "start": "start",
    "fault": "note",
    "feed": "note",
}
_MOST_ARROWS = 60


def diagram_of(history: History) -> Diagram:
    """The diagram of a history: of its messages those about the verdict's writes, without the
    acknowledgements of deliveries."""
    about = set(history.verdict.writes)
    messages = [
        one
        for one in history.messages
        if (one.write in about or not about or one.lost) and one.label != "ok"
    ][:_MOST_ARROWS]
    used = {end for one in messages for end in (one.sender, one.receiver)}
    used |= {one.lifeline for one in history.moments if one.kind != "healed"}
    return Diagram(
        title=f"{history.verdict.goal}: {history.arrangement}"
        + "".join(f", {name} {value}" for name, value in history.options.items()),
        caption=history.verdict.sentence,
        lifelines=tuple(
            name for name in history.lifelines if name in used or name in ("client", "query")
        ),
        arrows=tuple(_arrow(one, history) for one in messages),
        marks=tuple(
            Mark(_KINDS[one.kind], one.lifeline, one.at_ms, _label(one, history))
            for one in history.moments
            if one.kind in _KINDS
        ),
        stretches=tuple(_downtimes(history)),
    )


def _arrow(message: Message, history: History) -> Arrow:
    kind = {"publish": "event", "event": "event", "request": "request"}.get(message.kind, "reply")
    label = message.label
    if message.kind == "request":
        verb, _, path = label.partition(" ")
        what = path.rstrip("/").rpartition("/")[2]
        label = f"{verb} {what}"
    if message.write and message.kind != "reply":
        label = f"{label} ({message.write})"
    return Arrow(
        kind,  # type: ignore[arg-type]
        message.sender,
        message.receiver,
        message.sent_ms,
        message.received_ms,
        label,
        message.lost or ("" if message.received_ms is not None else "never arrived"),
    )


def _label(moment: Moment, history: History) -> str:
    writes = ", ".join(map(str, moment.writes))
    match moment.kind:
        case "commit":
            return writes
        case "acknowledged":
            return f"acknowledged: {writes}"
        case "crash" | "start":
            return ""
        case "refused" | "unknown":
            return f"{moment.kind}: {writes}"
        case "feed":
            return f"feed shows {writes or 'nothing new'}"
        case _:
            return moment.label


def _downtimes(history: History) -> list[Stretch]:
    stretches, since = [], dict[str, float]()
    for moment in history.moments:
        if moment.kind == "crash":
            since.setdefault(moment.lifeline, moment.at_ms)
        elif moment.kind == "start" and moment.lifeline in since:
            from_ms = since.pop(moment.lifeline)
            stretches.append(Stretch("down", moment.lifeline, from_ms, moment.at_ms))
    stretches += [Stretch("down", lifeline, at_ms, None) for lifeline, at_ms in since.items()]
    return stretches
