"""Guesses: questions asked before a run, the answers, and the comparison with the result.

The questions (at most four) are made from the scenario: who fails, the latency that it is about,
its price, and what readers never see. A student who wrote down a wrong number before the run
remembers why it was wrong; a student who only watched remembers a table.

The answers are saved in the run's folder. A guess of milliseconds, or of ten or more of something,
is good within a factor of two, because only the order of magnitude can be known before the run. A
wrong guess never makes a run fail.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any, Literal

from lab.faults.kinds import KINDS
from lab.results.expressions import PLACEHOLDER
from lab.results.paths import lookup, lookup_bounds, phase_key
from lab.results.result import NEVER, NOBODY, SUCCESS_THRESHOLD, Guess, RunResult
from lab.results.saved_names import has_valid_result, scenario_of
from lab.scenarios.scenario import Scenario
from lab.support.files import write_private
from lab.support.text import did_you_mean

# ── Questions and their answers

_MAX_VARIANTS_ASKED = 3
_MAX_FAULTS_NAMED = 2
_LATENCIES = ("p95", "p50", "mean")
"""Figures that a question may be about. Not p99: of thirty requests it is the slowest one."""
_ENDPOINT_NOUNS = {
    "read_feed": "a feed",
    "create_post": "a new post",
    "create_comment": "a comment",
}
_ACTIVITIES = {
    "read_feed": "read the feed",
    "create_post": "write a post",
    "create_comment": "write a comment",
    "comment_at_once": "comment on a post at once",
    "look_at_once": "find a new post at once",
}
_FIGURE_PHRASES = {"p95": "at p95", "p50": "at p50", "mean": "on average"}
_LATENCY_PATH = re.compile(r"during\.(\w+)\.p50")
_SEEN_PATH = re.compile(r"(\w+)\.(create_\w+)\.visible_\w+")
_FAILING_PATH = re.compile(r"\w+\.(\w+)\.(?:success|errors)\b")
_COUNTS = {
    "data.duplicated": ("duplicated", "done twice", "How many writes take effect twice?"),
    "data.diverged": (
        "diverged",
        "stored differently",
        "How many writes do two services store differently?",
    ),
    "data.unknown_kept": (
        "stored_unanswered",
        "stored without an answer",
        "How many writes are stored although their writer had no answer?",
    ),
    "lag.query.max": ("waiting", "events waiting", "How many events wait for `query` at most?"),
}
"""Prices that are counts: the key, the short form and the text of the question about each."""
_ALREADY_ASKED = ("data.missing", "data.unsettled", "data.lost")
_NONE_WORDS = {NOBODY, "none", "no one", "neither", "no"}
_ALL_WORDS = {"all", "both", "every", "everybody", "each"}
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)\s*(ms|s)?")

QuestionKind = Literal["who", "latency", "count"]


class GuessError(ValueError):
    """An answer that is not valid; the message says what was seen and what was expected."""


@dataclass(frozen=True)
class GuessQuestion:
    """One question. `key`: the name of its answer in Python. `variants`: those that an answer may
    name, or that need a number each. `paths`: by variant, the paths of the deciding figures; those
    of a count are added. `short`: the question in a few words."""

    key: str
    kind: QuestionKind
    text: str
    variants: tuple[str, ...]
    paths: Mapping[str, tuple[str, ...]]
    short: str = ""

    @property
    def unit(self) -> str:
        return "ms" if self.kind == "latency" else ""

    @property
    def expected(self) -> str:
        """The form of a valid answer, in words."""
        if self.kind == "who":
            return f"{', '.join(self.variants)}, all, or {NOBODY}"
        return f"milliseconds, or {NEVER}" if self.kind == "latency" else "a whole number"

    def parse(self, answer: object) -> float | str:
        """Parse an answer into the value that is saved. Raises GuessError."""
        if self.kind == "who":
            return _parse_names(answer, self)
        return _parse_number(answer, self)


def build_questions(scenario: Scenario) -> tuple[GuessQuestion, ...]:
    """The questions of a scenario (one to four), in the order in which they are asked."""
    names = tuple(scenario.variants)
    compared = names if len(names) <= _MAX_VARIANTS_ASKED else (names[0], names[-1])
    return tuple(
        question
        for question in (
            _who_fails(scenario, names),
            _own_latency(scenario, compared),
            _price(scenario, compared),
            _never_seen(scenario, compared),
        )
        if question is not None
    )


def _who_fails(scenario: Scenario, names: tuple[str, ...]) -> GuessQuestion:
    named = _FAILING_PATH.search(f"{scenario.answer.catch} {scenario.answer.why}")
    endpoint = named[1] if named and named[1] in _ACTIVITIES else _most_frequent(scenario)
    return GuessQuestion(
        key="fails",
        kind="who",
        text=f"Which side fails{_condition_phrase(scenario)}? "
        f"Where do fewer than 99 of 100 requests to {_ACTIVITIES[endpoint]} succeed?",
        variants=names,
        paths={
            name: tuple(
                f"{name}.{phase_key(phase)}.{endpoint}.success"
                for phase in scenario.reported_phases()[1:-1]
            )
            for name in names
        },
        short="who fails",
    )


def _own_latency(scenario: Scenario, compared: tuple[str, ...]) -> GuessQuestion | None:
    """The latency that the scenario's explanation is about; otherwise that of the feed."""
    if scenario.in_sequence:
        return None
    named = _LATENCY_PATH.search(f"{scenario.answer.catch} {scenario.answer.why}")
    endpoint = named[1] if named and named[1] in _ENDPOINT_NOUNS else _most_frequent(scenario)
    figure = _predicted_figure(scenario, compared, endpoint)
    noun, phrase = _ENDPOINT_NOUNS[endpoint], _FIGURE_PHRASES[figure]
    return GuessQuestion(
        key=f"{'feed' if endpoint == 'read_feed' else 'write'}_{figure}_ms",
        kind="latency",
        text=f"How long does {noun} take {phrase}{_condition_phrase(scenario)}, in ms?",
        variants=compared,
        paths={name: (f"{name}.during.{endpoint}.{figure}",) for name in compared},
        short=f"{noun}, {figure}",
    )


def _price(scenario: Scenario, compared: tuple[str, ...]) -> GuessQuestion | None:
    """What the scenario says it costs: a count, or the time until readers see a write."""
    texts, price = (scenario.answer.catch, scenario.answer.why), scenario.answer.price
    named = [
        *(expression for text in texts for expression in PLACEHOLDER.findall(text)),
        *([price.figure] if price and not price.figure.startswith("before.") else []),
        *(prediction.measured for prediction in scenario.predict),
    ]
    for figure in named:
        if any(path in figure for path in _ALREADY_ASKED):
            return None
        for path, (key, short, text) in _COUNTS.items():
            if path in figure:
                paths = {name: (f"{name}.{path}",) for name in compared}
                return GuessQuestion(key, "count", text, compared, paths, short)
        if seen := _SEEN_PATH.search(figure):
            return _seen_after(scenario, compared, phase=seen[1], endpoint=seen[2])
    written = [one for one in ("create_comment", "create_post") if scenario.load.mix.get(one)]
    if scenario.in_sequence or not written:
        return None
    return _seen_after(scenario, compared, "during", written[0])


def _seen_after(
    scenario: Scenario, compared: tuple[str, ...], phase: str, endpoint: str
) -> GuessQuestion:
    noun = _ENDPOINT_NOUNS[endpoint]
    when = _condition_phrase(scenario)
    if phase != "during":
        target, _, kind = phase.rpartition("_")
        when = f" while {_fault_state(kind, target)}"
    return GuessQuestion(
        key="seen_p50_ms",
        kind="latency",
        text=f"How long until readers see {noun} at p50{when}, in ms?",
        variants=compared,
        paths={name: (f"{name}.{phase}.{endpoint}.visible_p50",) for name in compared},
        short=f"until readers see {noun}, p50",
    )


def _never_seen(scenario: Scenario, compared: tuple[str, ...]) -> GuessQuestion | None:
    if not (scenario.load.mix.get("create_comment") or scenario.load.mix.get("create_post")):
        return None
    return GuessQuestion(
        key="lost",
        kind="count",
        text="How many comments and posts do readers never see, although each had a 201?",
        variants=compared,
        paths={name: (f"{name}.data.lost", f"{name}.data.missing") for name in compared},
        short="never seen",
    )


def _most_frequent(scenario: Scenario) -> str:
    """The kind of request that the load is about: the feed if it is read at all."""
    mix = scenario.load.mix
    return max(mix, key=lambda name: (name == "read_feed" and mix[name] > 0, mix[name]))


def _parse_names(answer: object, question: GuessQuestion) -> str:
    words = re.split(r"\s*(?:,|;|\band\b|\s)\s*", answer) if isinstance(answer, str) else answer
    if isinstance(answer, str) and answer.strip().lower() in _NONE_WORDS | _ALL_WORDS:
        return join_names(question.variants if answer.strip().lower() in _ALL_WORDS else ())
    if words is None or (isinstance(words, list | tuple | set | frozenset) and not words):
        return NOBODY
    if not isinstance(words, list | tuple | set | frozenset):
        raise GuessError(f"Saw {answer!r}; expected {question.expected}.")
    chosen = [_match_name(str(word), question) for word in words if str(word).strip()]
    if not chosen:
        raise GuessError(f"That was nothing; expected {question.expected}.")
    return join_names(name for name in question.variants if name in chosen)


def _match_name(word: str, question: GuessQuestion) -> str:
    matches = [name for name in question.variants if name == word.lower()]
    matches = matches or [name for name in question.variants if word.lower() in name.split("-")]
    if len(matches) == 1:
        return matches[0]
    raise GuessError(
        f"There is no side {word!r}. {did_you_mean(word, question.variants)} "
        f"Expected {question.expected}."
    )


def _parse_number(answer: object, question: GuessQuestion) -> float | str:
    if isinstance(answer, str):
        word = answer.strip().lower()
        if question.kind == "latency" and word == NEVER:
            return NEVER
        number = _NUMBER.fullmatch(word)
        if number and (question.kind == "latency" or not number[2]):
            answer = float(number[1]) * (1_000 if number[2] == "s" else 1)
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        value = float(answer)
        whole = question.kind == "latency" or value.is_integer()
        if math.isinf(value) and value > 0 and question.kind == "latency":
            return NEVER
        if math.isfinite(value) and value >= 0 and whole:
            return value
    raise GuessError(f"Saw {answer!r}; expected {question.expected}.")


def join_names(names: Iterable[str]) -> str:
    """Names as one text, separated by commas; `nobody` when there are none."""
    return ", ".join(names) or NOBODY


def _predicted_figure(scenario: Scenario, names: Sequence[str], endpoint: str) -> str:
    """The latency figure that a prediction of the scenario uses, so that guess, prediction and
    measurement can be compared; p50 if no prediction uses one."""
    measured_paths = {" ".join(prediction.measured.split()) for prediction in scenario.predict}
    for figure in _LATENCIES:
        if any(f"{name}.during.{endpoint}.{figure}" in measured_paths for name in names):
            return figure
    return "p50"


def _condition_phrase(scenario: Scenario) -> str:
    """The end of a question: under which faults or load, in words."""
    if scenario.in_sequence:
        return " while something is broken"
    faults = list(dict.fromkeys(_fault_state(of.fault, of.target) for of in scenario.method))
    if not faults:
        return " in the rush" if scenario.load.during_rate else " with nothing broken"
    if len(faults) > _MAX_FAULTS_NAMED:
        return " while these faults are active"
    return f" while {' and '.join(faults)}"


def _fault_state(kind: str, target: str) -> str:
    return f"`{target}` {KINDS[kind].state if kind in KINDS else kind}"


# ── Guesses and the comparison with the result

GUESSES_FILE = "guesses.json"
GOOD_FACTOR = 2.0
EXACT_BELOW = 10
"""A smaller count has to be guessed exactly, a larger one within GOOD_FACTOR."""
_SAVED_FIELDS = {"question", "asks", "short", "variant", "unit", "guessed"}


def parse_guesses(scenario: Scenario, answers: Mapping[str, object]) -> list[Guess]:
    """Parse answers by question key. An answer is a choice, a number for all variants, or a number
    for each (`{"sync-chain": 300, "async-bus": 5}`). Keys may be left out. Raises GuessError."""
    by_key = {question.key: question for question in build_questions(scenario)}
    parsed = []
    for key, answer in answers.items():
        if key not in by_key:
            raise GuessError(_unknown_question(key, scenario, by_key))
        question = by_key[key]
        for variant, value in _by_variant(question, answer):
            try:
                parsed.append(parse_guess(question, variant, value))
            except GuessError as error:
                raise GuessError(f"{key}: {error}") from None
    return parsed


def _unknown_question(key: str, scenario: Scenario, known: Iterable[str]) -> str:
    sentence = f"{scenario.name} has no question {key!r}. {did_you_mean(key, known)}"
    if "_p99_" in key:
        sentence += " (The p99 of thirty requests is the slowest one: chance decides it.)"
    return sentence


def parse_guess(question: GuessQuestion, variant: str, answer: object) -> Guess:
    """One guess, without a measurement yet. Raises GuessError."""
    return Guess(
        question=question.key,
        asks=question.text,
        short=question.short,
        variant=variant,
        unit=question.unit,
        guessed=question.parse(answer),
    )


def save_guesses(guesses: Sequence[Guess], folder: Path) -> None:
    """Save the guesses in the run's folder, before the run begins."""
    data = [guess.model_dump(include=_SAVED_FIELDS) for guess in guesses]
    write_private(folder / GUESSES_FILE, json.dumps(data, indent=2) + "\n")


def unjudged_guesses(scenario: str, parent: Path) -> dict[tuple[str, str], float | str]:
    """The newest guesses about a scenario, by question and variant, if their run is no result.

    `parent`: the folder of the saved runs. Empty if a valid run has judged them.
    """
    files = sorted(parent.glob(f"*/{GUESSES_FILE}"), reverse=True)
    newest = next((file for file in files if scenario_of(file.parent) == scenario), None)
    if newest is None or has_valid_result(newest.parent):
        return {}
    try:
        saved = [Guess.model_validate(one) for one in json.loads(newest.read_bytes())]
    except (OSError, ValueError):
        return {}
    return {(guess.question, guess.variant): guess.guessed for guess in saved}


def compare_guesses(guesses: Sequence[Guess], scenario: Scenario, result: RunResult) -> list[Guess]:
    """The guesses, completed with the measured value and the prediction of the same figure."""
    by_key = {question.key: question for question in build_questions(scenario)}
    return [
        _compare_guess(guess, by_key[guess.question], result)
        for guess in guesses
        if guess.question in by_key
    ]


def attach_guesses(
    guesses: Sequence[Guess], scenario: Scenario, result: RunResult, folder: Path
) -> None:
    """Attach the compared guesses to a result, and save it in the run's folder."""
    result.guesses = compare_guesses(guesses, scenario, result)
    result.save(folder / "result.json")


def _compare_guess(guess: Guess, question: GuessQuestion, result: RunResult) -> Guess:
    update: dict[str, Any] = {}
    if question.kind == "who":
        failing = _failing_variants(question, result)
        same = all(_failing_variants(question, result, end) == failing for end in (0, 1))
        hit = None if failing is None or not same else failing == guess.guessed
        update = {"measured": failing, "hit": hit}
    else:
        path, *more = question.paths[guess.variant]
        figures = [lookup(one, result) for one in (path, *more)]
        value: float | str | None = (
            None if None in figures else fsum(figure or 0.0 for figure in figures)
        )
        if value is None and question.kind == "latency" and _none_succeeded(path, result):
            value = NEVER
        hit = _is_near(guess.guessed, value, question.kind)
        ends = lookup_bounds(path, result)
        if not more and ends and hit is not _is_near_throughout(guess.guessed, ends, question.kind):
            hit = None
        update = {"measured": value, "hit": hit}
        for prediction in result.predictions:
            if prediction.measured_as == path:
                update |= {"theory": prediction.predicted, "theory_by": prediction.predicted_by}
    return guess.model_copy(update=update)


def _is_near_throughout(
    guessed: float | str, ends: tuple[float, float], kind: QuestionKind
) -> bool | None:
    """Whether the guess is good for all values between the ends; None if only for some."""
    hits = {_is_near(guessed, end, kind) for end in ends}
    inside = isinstance(guessed, float) and ends[0] < guessed < ends[1]
    return hits.pop() if len(hits) == 1 and not (inside and hits == {False}) else None


def _failing_variants(
    question: GuessQuestion, result: RunResult, end: int | None = None
) -> str | None:
    """The variants that fail. `end`: with all shares at their lower (0) or upper end (1)."""
    lowest = {}
    for name, paths in question.paths.items():
        shares = [
            bounds[end] if end is not None and (bounds := lookup_bounds(path, result)) else share
            for path in paths
            if (share := lookup(path, result)) is not None
        ]
        if not shares:
            return None
        lowest[name] = min(shares)
    return join_names(name for name, share in lowest.items() if share < SUCCESS_THRESHOLD)


def _none_succeeded(path: str, result: RunResult) -> bool:
    prefix = path.rpartition(".")[0]
    return bool(lookup(f"{prefix}.sent", result)) and lookup(f"{prefix}.ok", result) == 0


def _is_near(guessed: float | str, measured: float | str | None, kind: QuestionKind) -> bool | None:
    if measured is None:
        return None
    if isinstance(guessed, str) or isinstance(measured, str):
        return guessed == measured
    low, high = sorted((guessed, measured))
    if kind == "count" and high < EXACT_BELOW:
        return guessed == measured
    return high <= GOOD_FACTOR * low or high < 1


def _by_variant(question: GuessQuestion, answer: object) -> Iterator[tuple[str, object]]:
    if question.kind == "who":
        yield "", answer
    elif isinstance(answer, Mapping):
        for name, value in answer.items():
            if name not in question.variants:
                raise GuessError(
                    f"{question.key}: it is not asked of {name!r}. "
                    f"{did_you_mean(str(name), question.variants)}"
                )
            yield name, value
    else:
        yield from ((name, answer) for name in question.variants)
