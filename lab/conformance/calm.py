"""What does not hold although nothing is broken: the controls of all outages, taken together.

An outage is only charged with what the fault has changed. What fails before the fault as well is
said here, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.conformance.endings import Ending
from lab.conformance.judging import WriteControl, lateness_of, median_latency_ms
from lab.conformance.light_load import CheckSample
from lab.conformance.outcome import Outcome
from lab.conformance.report_card import Criterion, FindingRecorder, ReportSection

KEY = "calm"
_ANSWERED = {
    "reads": ("read_feed", "Readers are answered."),
    "posts": ("create_post", "Posts are accepted."),
    "comments": ("create_comment", "Comments are accepted."),
}
_LOAD_HINT = "Nothing was broken: look into its log, and at what it does with several at once."
_CRITERIA = (
    Criterion(
        f"{KEY}.starts", "The system starts, each time.", "Does its start depend on an order?"
    ),
    *(
        Criterion(f"{KEY}.{key}", requirement, _LOAD_HINT)
        for key, (_, requirement) in _ANSWERED.items()
    ),
    Criterion(f"{KEY}.kept", "Nothing that was acknowledged is missing.", _LOAD_HINT),
    Criterion(f"{KEY}.decided", "Every comment has its verdict.", _LOAD_HINT),
    Criterion(f"{KEY}.once", "Nothing is there twice.", _LOAD_HINT),
    Criterion(
        f"{KEY}.honest",
        "What was answered with an error is not there.",
        "It was stored, and then something failed. A client that tries again has it twice.",
    ),
    Criterion(
        f"{KEY}.others",
        "No service exits.",
        "Catch the errors of the services that you call: an unhandled one ends the whole process.",
    ),
)


@dataclass
class Controls:
    """What was seen before each fault, as far as it came to that."""

    starts: int = 0
    failed_starts: list[str] = field(default_factory=list)
    stretches: list[list[CheckSample]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    moderated: bool = True

    @property
    def lateness(self) -> str:
        """Why the machine was too busy in one of the stretches; "" if it was not."""
        return next(filter(None, map(lateness_of, self.stretches)), "")

    @property
    def writes(self) -> WriteControl:
        return WriteControl.of(self.outcomes)


def calm_section(controls: Controls) -> ReportSection:
    """The section of the card about the time without a fault."""
    recorder = FindingRecorder(_CRITERIA)

    def record(key: str, held: bool | None, seen: str) -> None:
        recorder.record(f"{KEY}.{key}", held, seen)

    if controls.starts:
        failed = controls.failed_starts
        count = f"{controls.starts - len(failed)} of {controls.starts} times"
        record("starts", not failed, f"{count}; {failed[0]}" if failed else count)
    for key, (endpoint, _) in _ANSWERED.items():
        _record_answered(recorder, f"{KEY}.{key}", endpoint, controls.stretches)
    writes = controls.writes
    for key, bad, asked, wrong, all_well in (
        ("kept", writes.missing, writes.acknowledged, "are missing", "all {} are there"),
        ("decided", writes.waiting, writes.comments, "still wait", "all {} have"),
        ("once", writes.doubled, writes.present, "are", "0 of {} are"),
        ("honest", writes.refused_kept, writes.refused, "are", "0 of {} are"),
    ):
        if asked and (controls.moderated or key != "decided"):
            seen = f"{bad} of {asked} {wrong}" if bad else all_well.format(asked)
            late = bad and key in ("kept", "decided") and controls.lateness
            record(key, None if late else not bad, f"{late}; {seen}" if late else seen)
    if controls.stretches:
        ended = "; ".join(dict.fromkeys(f"{one.process} {one.how}" for one in controls.endings))
        record("others", not controls.endings, ended or "none did")
    recorder.omit_open()
    return ReportSection(KEY, "Without a fault, under the same load", recorder.findings())


def _record_answered(
    recorder: FindingRecorder, key: str, endpoint: str, stretches: Sequence[list[CheckSample]]
) -> None:
    """Timeouts while the machine was too busy say nothing about the system."""
    samples, lateness = list[CheckSample](), ""
    for stretch in stretches:
        late = lateness_of(stretch)
        lateness = lateness or late
        samples += [
            sample
            for sample in stretch
            if sample.endpoint == endpoint
            and not (late and sample.error in ("timeout", "no_socket"))
        ]
    if not samples:
        if lateness:
            recorder.record(key, None, lateness)
        return
    failed = [sample for sample in samples if not sample.ok]
    seen = f"{len(samples) - len(failed)} of {len(samples)} were"
    if failed:
        recorder.record(key, False, f"{seen} ({failed[0].failure or failed[0].error})")
    else:
        recorder.record(key, True, f"{seen}, half within {median_latency_ms(samples):.0f} ms")
