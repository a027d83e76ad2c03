"""A report card as sentences, JSON and JUnit XML."""

import textwrap
from collections.abc import Iterator
from typing import Any

from lab.cluster.fault_rules import no_sidecar_note
from lab.conformance.calm import KEY as CALM
from lab.conformance.contract import REQUIRED_KEYS
from lab.conformance.judging import LEVEL
from lab.conformance.report_card import CriterionFinding, ReportCard
from lab.results.claims import CLAIMS
from lab.support.junit import JUnitCase, render_junit
from lab.support.text import shell_word

SCHEMA = "lab.conformance/1"
WIDTH = 88
_INDENT = " " * 12
_CONTRACT = "contract"
_LEVEL_NOTE = (
    "Under a fault, NOT HELD says that the fault made the difference: fewer requests succeeded "
    f"than just before it (Fisher's exact test, p < {LEVEL:g}), or writes went wrong as none did "
    "without a fault."
)
_LABELS = {True: "held", False: "NOT HELD", None: "not seen"}


def to_json(card: ReportCard) -> dict[str, Any]:
    """The card as `--json` prints it; `held` is null where a criterion could not be checked."""
    return {
        "schema": SCHEMA,
        "target": card.target,
        "title": card.title,
        "services": list(card.services),
        "bus": card.bus,
        "unmoved": list(card.without_sidecar),
        "passed": card.passed,
        "level": LEVEL,
        "held": sum(line.held is True for line in card.findings),
        "not_held": sum(line.held is False for line in card.findings),
        "not_seen": sum(line.held is None for line in card.findings),
        "seconds": round(card.seconds, 2),
        "trouble": card.trouble,
        "log": list(card.log),
        "parts": [
            {
                "key": section.key,
                "title": section.title,
                "criteria": [
                    {
                        "key": line.criterion.key,
                        "wanted": line.criterion.requirement,
                        "held": line.held,
                        "seen": line.observed,
                        "claim": line.criterion.claim or None,
                        "scenario": line.criterion.scenario or None,
                        "hint": line.criterion.hint if line.held is False else "",
                    }
                    for line in section.findings
                ],
            }
            for section in card.sections
        ],
    }


def to_junit(card: ReportCard) -> str:
    """JUnit XML: a test case for each criterion."""
    cases = [
        JUnitCase(
            line.criterion.key,
            failure=line.observed if line.held is False else "",
            details="\n".join(_explanation(line)) if line.held is False else "",
            skip_reason=line.observed if line.held is None else "",
        )
        for line in card.findings
    ]
    error = JUnitCase("the start", card.trouble, "\n".join(card.log)) if card.trouble else None
    return render_junit(f"lab check {card.target}", card.target, cases, card.seconds, error)


def to_text(card: ReportCard, target_file: str) -> list[str]:
    """The card as lines for people, with an explanation for each criterion that does not hold.

    `target_file`: the target's file, for the commands that are shown.
    """
    service_count = f"{len(card.services)} services" if len(card.services) > 1 else "one service"
    lines = [f"{card.title} ({service_count}, {f'bus: {card.bus}' if card.bus else 'no bus'})"]
    if card.without_sidecar:
        lines += textwrap.wrap(no_sidecar_note(*card.without_sidecar), WIDTH)
    for section in card.sections:
        lines += ["", section.title]
        shared_reason = _shared_reason(section.findings)
        for line in section.findings:
            if line.held is None and line.observed == shared_reason:
                continue
            seen = f"{line.criterion.requirement.rstrip('.')}: {_with_full_stop(line.observed)}"
            lines += _wrap(seen, f"  {_LABELS[line.held]:<10}")
            if line.held is False:
                lines += [wrapped for text in _explanation(line)[1:] for wrapped in _wrap(text)]
        if shared_reason:
            all_unchecked = all(line.held is None for line in section.findings)
            text = shared_reason if all_unchecked else f"all else: {shared_reason}"
            lines += _wrap(_with_full_stop(text), f"  {_LABELS[None]:<10}")
    lines.append("")
    if card.trouble:
        lines += textwrap.wrap(card.trouble, WIDTH)
        if card.log:
            lines += ["The last lines of its log:", *(f"  {line}" for line in card.log)]
        return [
            *lines,
            f"Does it start by hand, with the command and in the folder of {target_file}?",
        ]
    return [*lines, *_summary(card, target_file)]


def _summary(card: ReportCard, target_file: str) -> Iterator[str]:
    checked = [line for line in card.findings if line.held is not None]
    held = sum(line.held is True for line in checked)
    yield f"{held} of {len(checked)} held, in {card.seconds:.0f} s."
    if any(line.held is False and line.criterion.key in REQUIRED_KEYS for line in card.findings):
        yield (
            f"No outage was tried, because these have to hold first: {', '.join(REQUIRED_KEYS)}. "
            f"[actions] in {target_file} maps them to your routes."
        )
        return
    failed = [line.criterion for line in checked if line.held is False]
    if any(section.key not in (_CONTRACT, CALM) for section in card.sections):
        yield from textwrap.wrap(_LEVEL_NOTE, WIDTH)
    claims = dict.fromkeys(criterion.claim for criterion in failed if criterion.claim)
    if claims:
        yield "What was not held bears on:"
        for claim in claims:
            yield from textwrap.wrap(
                f"{claim}: {CLAIMS[claim].says}",
                WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
            )
    scenarios = list(
        dict.fromkeys(criterion.scenario for criterion in failed if criterion.scenario)
    )
    if scenarios:
        yield from textwrap.wrap(f"Read next (`lab show NAME`): {', '.join(scenarios)}.", WIDTH)
    command = f"lab run downed-service --with {shell_word(target_file)}"
    yield f"Beside the lab's own services, under load: {command}"


def _shared_reason(lines: tuple[CriterionFinding, ...]) -> str:
    """The reason why criteria of a section were not checked, if several share one reason; "" if
    not."""
    reasons = [line.observed for line in lines if line.held is None]
    is_shared = len(set(reasons)) == 1 and (len(reasons) > 2 or len(reasons) == len(lines))
    return reasons[0] if is_shared else ""


def _with_full_stop(sentence: str) -> str:
    return sentence if sentence.endswith(("?", "!", ".")) else f"{sentence}."


def _explanation(finding: CriterionFinding) -> list[str]:
    criterion = finding.criterion
    lines = [f"Seen: {_with_full_stop(finding.observed)}", criterion.hint]
    if criterion.scenario:
        lines.append(f"Claim: {criterion.claim}. Scenario: lab show {criterion.scenario}")
    return lines


def _wrap(text: str, first_indent: str = _INDENT) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first_indent, subsequent_indent=_INDENT)
