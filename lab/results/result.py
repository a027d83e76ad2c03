"""The result: everything one run measured, as one JSON document.

Scripts, graders and notebooks read this document, so keys may be added, but no key is renamed or
removed. Every later key has a default, so that an old document still loads. Unknown keys are kept,
so that a newer document can be read and saved without loss.

A figure that was not measured is `None`, never 0: "nothing was sent" is not "nothing failed".

Times in the timeline are seconds from the start of the run, as in `samples.csv` and `lag.csv`; the
warm-up comes before the first stage. If the variants ran one after another, the times count for
each of them from its own start.
"""

from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab.support.files import write_private


class ResultModel(BaseModel):
    """A table of the document; unknown keys are kept."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)


# ── Footprint


class Footprint(ResultModel):
    """The processes of a variant and their memory, measured in the middle of `during`.

    `memory_mib`: the proportional set size (PSS), in which a page that n processes share counts as
    1/n for each; None if the system does not report it (Linux does). The lab's programs are forked
    from one process and share memory with it, so they take less than if each was started alone.
    Compare it only between variants.
    """

    model_config = ConfigDict(frozen=True)

    processes: int
    memory_mib: float | None = None


# ── Consumers


class ConsumerLag(ResultModel):
    """How far one consumer was behind the bus's head, in events, and how it caught up.

    Rates are in events per second. `arrival_rate`: events for this consumer; `told_rate`: all
    events published on the bus; `drain_rate`: events that it applied while it was catching up.
    `outage_seconds`: from the first fault to its first response after the last fault;
    `drained_seconds`: from there until the lag was usual again, None if it never was.
    """

    max: int
    arrival_rate: float | None = None
    told_rate: float | None = None
    outage_seconds: float | None = None
    drained_seconds: float | None = None
    drain_rate: float | None = None


class Newcomer(ResultModel):
    """A second replica of a service, started with an empty database `at_s` seconds into `during`.

    `events`: how many it had consumed when it reached the bus's head, after `seconds` (None: it
    did not). `entries`: feed entries of the first replica; `differences`: entries that the two
    replicas show differently.
    """

    service: str
    part: str
    at_s: float
    events: int
    seconds: float | None = None
    events_per_s: float | None = None
    entries: int | None = None
    differences: int | None = None


LAG_FIGURES: dict[str, Callable[[ConsumerLag], float | None]] = {
    name: attrgetter(name) for name in ConsumerLag.model_fields
}
NEWCOMER_FIGURES: dict[str, Callable[[Newcomer], float | None]] = {
    "events_per_second": attrgetter("events_per_s"),
    **{name: attrgetter(name) for name in ("seconds", "events", "entries", "differences")},
}


# ── Requests

SUCCESS_THRESHOLD = 0.99
"""Where a smaller share of requests succeeds, they fail: reports mark it, and guesses about who
fails are judged by it."""


class VisibilityLatency(ResultModel):
    """Milliseconds from the intended send time of a write until the feed showed it as decided."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class FailureLatency(ResultModel):
    """Milliseconds from the intended send time of a request to its failure."""

    p50: float | None = None


class LatencySummary(ResultModel):
    """Milliseconds from the *intended* send time of a request to its answer; good answers only."""

    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    mean: float | None = None


class LatencyOfAll(ResultModel):
    """Milliseconds, of all requests that were sent; those that failed count as longer than any
    answer. None: never, because so many failed, or nothing was sent."""

    p50: float | None = None
    p95: float | None = None


class EndpointResult(ResultModel):
    """Counts and latencies of one kind of request in one phase."""

    sent: int
    ok: int
    failed: int
    late: int = 0
    dropped: int = 0
    success: float | None = Field(default=None, description="ok / sent; None when nothing was sent")
    errors: dict[str, int] = Field(default={})
    latency_ms: LatencySummary = LatencySummary()
    failed_after_ms: FailureLatency = FailureLatency()
    visible_ms: VisibilityLatency | None = Field(
        default=None, description="only of writes that the feed showed"
    )
    never_visible: int = 0
    of_all_ms: LatencyOfAll | None = Field(
        default=None, description="the latency of all that were sent; null in older documents"
    )
    visible_of_all_ms: LatencyOfAll | None = Field(
        default=None,
        description="only of writes: until the feed showed them, of all that were sent",
    )
    retried: int = Field(
        default=0, description="how often a request was sent again because it had no answer"
    )
    stale: int | None = Field(
        default=None,
        description="of `ok`: feeds that lack a write acknowledged before their request",
    )
    degraded: int = Field(
        default=0, description="of `ok`: answers that leave a part out, and say so"
    )
    decided: int | None = Field(
        default=None, description="of `ok`: answers without a pending comment"
    )


class PhaseResult(ResultModel):
    """One phase: its length, and its requests by kind."""

    seconds: float
    endpoints: dict[str, EndpointResult] = Field(default={})


# ── Noise, differences and repeated runs

ASSUMED_NOISE = 0.15
"""The noise floor when none was measured: two identical servers were seen to differ by 12 %."""

DifferenceVerdict = Literal["slower", "faster", "no difference shown"]


class NoiseFloor(ResultModel):
    """How much two equal variants differ on this machine.

    `share`: two medians nearer than this (0.07: 7 %) may be equal; of few runs, an upper bound.
    `runs`: the number of runs of `calm` it was computed from, 0 if it is assumed; `newest`: when
    the last of these began.
    """

    share: float = ASSUMED_NOISE
    runs: int = 0
    newest: str | None = None


class Difference(ResultModel):
    """The ratio of the median latency in `variant` to that in `against`; good answers only.

    `low` and `high`: the confidence interval of the factor between the two, at 95 % for all
    differences of a result together. `figure`: "latency", or "visible": the time until the feed
    showed a write. `reason`: why no difference is shown although the medians differ: the load was
    late, or the requests that failed may be the slow ones.
    """

    variant: str
    against: str
    phase: str
    endpoint: str
    ratio: float
    low: float
    high: float
    verdict: DifferenceVerdict
    figure: Literal["latency", "visible"] = "latency"
    reason: str = ""


class RunSummary(ResultModel):
    """One of several runs of the same scenario. `verdicts`: of its expectations, in their order.
    `unproved`: which faults did not act as declared, or not on a steady state; such a run is left
    out if others have none."""

    seed: int
    folder: str
    valid: bool
    verdicts: list[str] = []
    problems: list[str] = []
    unproved: list[str] = []


# ── Answer


class AnswerFigure(ResultModel):
    """A row that a scenario adds to its answer: a count of each variant, by its path without the
    variant (`data.unsettled`). `good`: whether fewer or more of it is better."""

    label: str
    figure: str
    good: Literal["low", "high"] = "low"


class AnswerLine(ResultModel):
    """A line at the top of the answer: the words before a figure, the figure's path without the
    variant (`*` stands for all phases), and whether less or more of it is better."""

    says: str
    figure: str
    good: Literal["low", "high"] = "low"


class AnswerTexts(ResultModel):
    """What a scenario says about its answer: the figure that decides which variant is better off,
    and the one that is its price. In `why` and `catch`, a path in braces
    (`{sync-chain.during.read_feed.p50}`) stands for this figure of the run. `next`: the next
    scenario, and why."""

    better: AnswerLine | None = None
    price: AnswerLine | None = None
    why: str = ""
    catch: str = ""
    next: str = ""
    rows: list[AnswerFigure] = []


# ── Guesses

NEVER = "never"
"""A guess in place of milliseconds: no request is answered."""

NOBODY = "nobody"


class Guess(ResultModel):
    """One guess made before the run, with the measurement and the prediction of the same figure.

    `variant`: the variant that the number is for; "" if the question is about all variants. A
    choice consists of names of variants, in the scenario's order. `hit`: whether the guess was
    good: the same names, the same count, or milliseconds within a factor of two (also a count of
    ten or more); None if nothing was measured. `short`: the question in a few words.
    """

    question: str
    asks: str
    short: str = ""
    variant: str = ""
    unit: str = ""
    guessed: float | str
    measured: float | str | None = None
    theory: float | None = None
    theory_by: str = ""
    hit: bool | None = None


# ── Predictions


class Prediction(ResultModel):
    """What theory predicted, and what was measured.

    `low`, `high`: the interval in which the measurement should lie, from chance, from the machine's
    noise, and from `within`: the share that the scenario grants for what theory leaves out.
    `deviation`: (measured − predicted) / predicted; `agrees`: whether the measurement lies in the
    interval. `answer`: why theory makes no prediction for this run; "" if it makes one. `reason`:
    why `agrees` was not measured: the load was late, or a fault did not act as declared.
    """

    says: str
    predicted: float | None = None
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    within: float = 0.1
    agrees: bool | None = None
    because: str = ""
    predicted_by: str = ""
    measured_as: str = ""
    answer: str = ""
    reason: str = ""


# ── Timeline

SURGE = "surge"


class TimelinePhase(ResultModel):
    """The times of one phase. The name `recovering` may occur several times."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: str
    from_s: float
    until_s: float


class TimelineWindow(ResultModel):
    """The times of a fault, or of a surge (`kind` is then "surge"), and its variants."""

    model_config = ConfigDict(allow_inf_nan=False)

    target: str
    kind: str
    from_s: float
    until_s: float
    settings: dict[str, Any] = {}
    variants: list[str] = []


class RunTimeline(ResultModel):
    """Stages in order, and windows sorted by start. Both are empty in older documents."""

    model_config = ConfigDict(allow_inf_nan=False)

    stages: list[TimelinePhase] = []
    windows: list[TimelineWindow] = []


# ── Simulation


class SimulationFacts(ResultModel):
    """What a simulated run consists of (`lab simulate`). `broken`: on how many shards a fault
    acted; `width`: how many shards one feed needed; `rate`: arrivals a second for each variant. By
    variant: `calls`, requests that reached a process; `events`, applied by consumers;
    `connections` between processes. `engine_s`: seconds of computation. `measured_on`,
    `measured_in`: the machine and the run that the parameters come from. `refused`: the figures
    left out, because the model missed the real lab there (`lab simulate --validate`)."""

    fleet: str
    services: int
    shards: int = 1
    broken: int = 1
    width: int = 1
    requests: int
    rate: float
    calls: dict[str, int] = {}
    events: dict[str, int] = {}
    connections: dict[str, int] = {}
    engine_s: float = 0.0
    measured_on: str = ""
    measured_in: str = ""
    refused: list[str] = []


# ── Result

ExpectationVerdict = Literal["holds", "fails", "not measured"]

SCHEMA: Literal["lab.result/1"] = "lab.result/1"
ENDPOINTS = ("read_feed", "create_post", "create_comment")
EXTERNAL = "foreign"
"""The arrangement of an external system."""

FOLLOW_UPS = ("comment_at_once", "look_at_once")
"""What the author of a post does as soon as the post is answered, if the scenario has it."""


class ResultError(ValueError):
    """A result document that cannot be read; the message says what to try."""


class CheckerCounts(ResultModel):
    """The counts of the checker, which compares the acknowledged writes with the stored ones.

    `unknown`: writes with neither a 2xx nor a definite refusal (a timeout, for example);
    `unknown_kept`: those of them that are stored. `missing`: of `unsettled`, when no event is on
    its way any more: the owner has the write, and readers never see it. None: not measured, because
    only the feed could be read, or (`missing`) because events were still on their way.
    """

    acknowledged: int
    visible: int
    lost: int
    duplicated: int
    unsettled: int
    missing: int | None = Field(
        default=None, description="acknowledged, at their owner, and never shown to readers"
    )
    undecided: int | None = Field(
        default=0, description="comments that their owner still holds pending"
    )
    diverged: int | None = Field(
        default=0,
        description="writes that two services store differently, or only one of them",
    )
    out_of_order: int | None = Field(
        default=0, description="writes shown before one that was acknowledged before they were sent"
    )
    resurrected: int = Field(
        default=0, description="writes the feed showed, then did not show, and has in the end"
    )
    refused_kept: int = 0
    unknown: int = 0
    unknown_kept: int = 0
    orphaned: int | None = Field(
        default=0, description="comments not acknowledged, judged, and not there"
    )
    unfinished: int = Field(
        default=0, description="writes still on their way when the time to settle was over"
    )
    altered: int = Field(default=0, description="writes stored with another text than was sent")
    misplaced: int = Field(default=0, description="comments stored under another post")
    misjudged: int = Field(default=0, description="comments stored with the wrong verdict")
    phantoms: int | None = Field(
        default=0, description="posts and comments that are stored, and that no one wrote"
    )
    misshown: int = Field(
        default=0, description="writes that a reader saw with another text, post or verdict"
    )
    flickered: int = Field(
        default=0, description="writes whose status changed back and forth for readers"
    )
    unmonotonic: int = Field(
        default=0, description="writes that one reader saw, and did not see in a later feed"
    )
    visible_ms: VisibilityLatency = VisibilityLatency()


class SidecarCostResult(ResultModel):
    """The latency of a feed request to an external service with and without its sidecar (ms, p50
    of `asked` requests each). `kib`: the size of the service's own answer. It matters because the
    sidecar translates all of it."""

    asked: int
    without_ms: float
    with_ms: float
    kib: float = 0.0


class FaultEvidence(ResultModel):
    """A fault and the evidence that it acted.

    `from_s` to `until_s`: when it was on; `gone_s`: when it was known to be gone (seconds from the
    start of the run). `doubts`: why it did not act as the scenario declares it; empty if it did.
    `ended_late`: by how much, in words; "" if it was gone in time.
    """

    kind: str
    target: str
    acted: bool
    phase: str | None = None
    evidence: dict[str, Any] = {}
    from_s: float | None = None
    until_s: float | None = None
    gone_s: float | None = None
    doubts: list[str] = []
    ended_late: str = ""


class ForeignOpenResult(ResultModel):
    """An attempt to start the service `who` on the database of `into`. `owner`: whether the owner
    was `running` or `gone` at that moment. `says`: the last line of the log."""

    who: str
    into: str
    owner: str
    refused: bool
    says: str = ""


class VariantResult(ResultModel):
    """One variant, under its load and its faults.

    `recovery`: by kind of request, the seconds from the end of the last fault until it was as usual
    again (null: never); without the kinds that were not sent afterwards. None: there was nothing to
    recover from, or the document is older. `recovery_seconds`: the longest of them; None if one
    never recovered, or if there was nothing to recover from.
    """

    name: str
    arrangement: str
    options: dict[str, Any] = {}
    phases: dict[str, PhaseResult] = {}
    data: CheckerCounts | None = None
    recovery_seconds: float | None = None
    recovery: dict[str, float | None] | None = None
    faults: list[FaultEvidence] = []
    ended: list[str] = Field(default=[], description="targets that ended by themselves, unhurt")
    notes: list[str] = []
    lag: dict[str, ConsumerLag] = Field(default={}, description="by consumer, where it has numbers")
    newcomers: list[Newcomer] = []
    databases: dict[str, list[str]] | None = Field(
        default=None, description="files open in each process in the middle of `during`"
    )
    database_owners: dict[str, str] = Field(default={}, description="by file: as the file says")
    reached_in: list[ForeignOpenResult] = []
    asked: dict[str, list[str]] = Field(
        default={}, description="by service: the services it called, from its spans"
    )
    on_the_bus: list[str] = Field(
        default=[], description="services that published or consumed events"
    )
    consumed: dict[str, list[str]] = Field(
        default={}, description="by service: the events it consumed, as `PostCreated of posts`"
    )
    asks: dict[str, dict[str, dict[str, int]]] | None = Field(
        default=None, description="by service and callee: the outcomes of its calls, as counts"
    )
    given_up: int | None = Field(
        default=None, description="requests not begun, because their deadline was over"
    )
    stuck: dict[str, str] | None = Field(
        default=None, description="by service: the event it could not get past, in the end"
    )
    dead_letters: dict[str, int] | None = Field(
        default=None, description="by service: events that were laid aside"
    )
    sidecar: SidecarCostResult | None = Field(
        default=None, description="where the services are not the lab's"
    )
    footprint: Footprint | None = Field(
        default=None, description="processes and memory in the middle of `during`"
    )
    attached: bool = Field(
        default=False,
        description="it ran already: which service called which is not measured, nor its processes",
    )
    bounds: dict[str, tuple[float, float | None]] = Field(
        default={},
        description="by path without the variant: the two ends of a figure that is not certain, "
        "because the load was late; null: no upper end",
    )
    unproved: dict[str, str] = Field(
        default={},
        description="by beginning of a path without the variant: why these figures are not "
        "measured, because a fault did not act as declared, or not on a steady state",
    )


class SendLag(ResultModel):
    """Milliseconds between the intended send time of a request and the moment it was sent."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class LoadSummary(ResultModel):
    """How well the load generator kept its schedule."""

    lag_ms: SendLag = SendLag()
    late: int = 0
    dropped: int = 0
    cpu_share: float | None = Field(default=None, description="of one core, 0 to 1")
    machine_share: float | None = Field(
        default=None, description="of the time of all processors, whatever used it, 0 to 1"
    )
    probes: dict[str, int] = Field(default={}, description="feed probes by variant: load, too")
    stalls: dict[str, list[tuple[float, float]]] = Field(
        default={},
        description="by variant: from when until when its generator did not run, in seconds",
    )


class Expectation(ResultModel):
    """What was expected, what was measured, and the verdict. `reason`: why it was not measured."""

    says: str
    claim: str | None = None
    that: str = ""
    verdict: ExpectationVerdict
    expected: str | None = None
    measured: float | None = None
    values: dict[str, float | None] = {}
    reason: str = ""


class RunResult(ResultModel):
    """One run of one scenario, or several runs pooled."""

    schema_: Literal["lab.result/1"] = Field(default=SCHEMA, alias="schema")
    scenario: str
    title: str = ""
    question: str = ""
    explain: str = ""
    seed: int
    quick: bool = False
    started: str
    environment: dict[str, Any] = {}
    valid: bool = True
    problems: list[str] = []
    load: LoadSummary = LoadSummary()
    variants: list[VariantResult]
    expectations: list[Expectation] = []
    predictions: list[Prediction] = []
    guesses: list[Guess] = Field(default=[], description="what a person guessed before the run")
    isolated: bool = False
    timeline: RunTimeline = RunTimeline()
    repeats: int = Field(default=1, description="the figures are of all valid `runs` together")
    runs: list[RunSummary] = []
    differences: list[Difference] = []
    noise_floor: NoiseFloor | None = None
    answer: AnswerTexts = AnswerTexts()
    simulated: bool = Field(default=False, description="no process ran: a model made the figures")
    simulation: SimulationFacts | None = Field(default=None, description="only if `simulated`")

    @property
    def exit_code(self) -> int:
        """0: every expectation holds; 1: one does not, or was not measured; 3: the run is not
        valid."""
        if not self.valid:
            return 3
        return 0 if all(each.verdict == "holds" for each in self.expectations) else 1

    def variant(self, name: str) -> VariantResult | None:
        """The variant of that name, if the run had one."""
        return next((variant for variant in self.variants if variant.name == name), None)

    def to_json(self) -> str:
        """The document as JSON, with a newline at the end."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write the document atomically; only its owner can read it (0600)."""
        write_private(path, self.to_json())

    @classmethod
    def load_file(cls, path: Path) -> Self:
        """Read a document. Raises ResultError if it cannot be read or is not valid."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ResultError(
                f"{path}: can't be read ({error.strerror}). "
                "A run keeps its result in runs/<time>-<scenario>/result.json."
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            raise ResultError(
                f"{path}: not a {SCHEMA} document: {where}: {first['msg'].lower()}. "
                "Was it written by `lab run`, and to its end?"
            ) from None
