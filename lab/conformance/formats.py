"""A report card as sentences, JSON and JUnit XML."""

import textwrap
from collections.abc import Iterator
from typing import Any

from lab.cluster.fault_rules import why_unmoved
from lab.conformance.contract import NEEDED
from lab.conformance.report_card import Card, Line
from lab.results.claims import CLAIMS
from lab.support.junit import Case
from lab.support.junit import junit as written

SCHEMA = "lab.conformance/1"
WIDTH = 88
_INDENT = " " * 12
_WORDS = {True: "held", False: "NOT HELD", None: "not seen"}


def document(card: Card) -> dict[str, Any]:
    """The card as `--json` prints it; `held` is null where a criterion could not be checked."""
    return {
        "schema": SCHEMA,
        "target": card.target,
        "title": card.title,
        "services": list(card.services),
        "bus": card.bus,
        "unmoved": list(card.unmoved),
        "passed": card.passed,
        "held": sum(line.held is True for line in card.lines),
        "not_held": sum(line.held is False for line in card.lines),
        "not_seen": sum(line.held is None for line in card.lines),
        "seconds": round(card.seconds, 2),
        "trouble": card.trouble,
        "log": list(card.log),
        "parts": [
            {
                "key": part.key,
                "title": part.title,
                "criteria": [
                    {
                        "key": line.criterion.key,
                        "wanted": line.criterion.wanted,
                        "held": line.held,
                        "seen": line.seen,
                        "claim": line.criterion.claim or None,
                        "scenario": line.criterion.scenario or None,
                        "hint": line.criterion.hint if line.held is False else "",
                    }
                    for line in part.lines
                ],
            }
            for part in card.parts
        ],
    }


def junit(card: Card) -> str:
    """JUnit XML: a test case for each criterion."""
    cases = [
        Case(
            line.criterion.key,
            failed=line.seen if line.held is False else "",
            why="\n".join(_explained(line)) if line.held is False else "",
            skipped=line.seen if line.held is None else "",
        )
        for line in card.lines
    ]
    error = Case("the start", card.trouble, "\n".join(card.log)) if card.trouble else None
    return written(f"lab check {card.target}", card.target, cases, card.seconds, error)


def sentences(card: Card, file: str) -> list[str]:
    """The card as lines for people: part by part, with an explanation for each criterion not held.

    `file`: the target's file, for the commands that are shown.
    """
    of = f"{len(card.services)} services" if len(card.services) > 1 else "one service"
    lines = [f"{card.title} ({of}, {f'bus: {card.bus}' if card.bus else 'no bus'})"]
    if card.unmoved:
        lines += textwrap.wrap(why_unmoved(*card.unmoved), WIDTH)
    for part in card.parts:
        lines += ["", part.title]
        shared = _same_reason(part.lines)
        for line in part.lines:
            if line.held is None and line.seen == shared:
                continue
            seen = f"{line.criterion.wanted.rstrip('.')}: {_ended(line.seen)}"
            lines += _wrapped(seen, f"  {_WORDS[line.held]:<10}")
            if line.held is False:
                lines += [one for text in _explained(line)[1:] for one in _wrapped(text)]
        if shared:
            all_of_it = all(line.held is None for line in part.lines)
            words = shared if all_of_it else f"all else: {shared}"
            lines += _wrapped(_ended(words), f"  {_WORDS[None]:<10}")
    lines.append("")
    if card.trouble:
        lines += textwrap.wrap(card.trouble, WIDTH)
        if card.log:
            lines += ["The last lines of its log:", *(f"  {line}" for line in card.log)]
        return [*lines, f"Does it start by hand, with the command and in the folder of {file}?"]
    return [*lines, *_summed_up(card, file)]


def _summed_up(card: Card, file: str) -> Iterator[str]:
    looked_at = [line for line in card.lines if line.held is not None]
    held = sum(line.held is True for line in looked_at)
    yield f"{held} of {len(looked_at)} held, in {card.seconds:.0f} s."
    if any(line.held is False and line.criterion.key in NEEDED for line in card.lines):
        yield f"No outage was tried: that has to hold first. {file} says how it is asked for."
        return
    failed = [line.criterion for line in looked_at if line.held is False]
    claims = dict.fromkeys(one.claim for one in failed if one.claim)
    if claims:
        yield "What was not held bears on:"
        for claim in claims:
            yield from textwrap.wrap(
                f"{claim}: {CLAIMS[claim].says}",
                WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
            )
    scenarios = list(dict.fromkeys(one.scenario for one in failed if one.scenario))
    if scenarios:
        yield from textwrap.wrap(f"Read next (`lab show NAME`): {', '.join(scenarios)}.", WIDTH)
    yield f"Beside the lab's own services, under load: lab run downed-service --with {file}"


def _same_reason(lines: tuple[Line, ...]) -> str:
    """The reason why criteria of a part were not checked, if several share one reason; "" if
    not."""
    reasons = [line.seen for line in lines if line.held is None]
    alone = len(set(reasons)) == 1 and (len(reasons) > 2 or len(reasons) == len(lines))
    return reasons[0] if alone else ""


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(("?", "!", ".")) else f"{sentence}."


def _explained(line: Line) -> list[str]:
    one = line.criterion
    told = [f"Seen: {_ended(line.seen)}", one.hint]
    if one.scenario:
        told.append(f"Claim: {one.claim}. Scenario: lab show {one.scenario}")
    return told


def _wrapped(text: str, first: str = _INDENT) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=_INDENT)
