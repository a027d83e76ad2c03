"""Scenario files: the built-in ones are valid, and mistakes get helpful messages."""

from pathlib import Path

import pytest

from lab.results.timeline import Timeline
from lab.scenarios import catalogue
from lab.scenarios.scenario import Scenario, ScenarioError

MINE = """
title = "Mine"
claims = ["slowest-hop"]
question = "Who waits?"
[load]
rate = 40
mix = { read_feed = 6, create_post = 1 }
[phases]
before = 3
during = 5
after = 4
[[method]]
fault = "latency"
target = "comments"
ms = 300
jitter_ms = 20
[variants.sync-chain]
workers = 4
[variants.again]
arrangement = "sync-chain"
[variants.async-bus]
[steady_state]
that = ["read_feed.success >= 0.99"]
[[expect]]
says = "The feed waits."
claim = "slowest-hop"
that = "sync-chain.during.read_feed.p50 >= sync-chain.before.read_feed.p50 + 250"
[explain]
text = "It waits."
"""

SEQUENCE = """
title = "In turn"
[phases]
before = 2
after = 3
each = 2.0
between = 1.0
[[method]]
fault = "down"
target = "posts"
[[method]]
fault = "down"
target = "event-bus"
[variants.sync-chain]
[variants.async-bus]
[[expect]]
says = "Without the bus the feed is read."
that = "async-bus.event-bus_down.read_feed.success >= 0.99"
"""


def load(folder: Path, text: str, name: str = "mine.toml") -> Scenario:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return Scenario.load_file(path)


def lengths(timeline: Timeline) -> list[tuple[str, float]]:
    return [(phase.name, phase.seconds) for phase in timeline.phases]


def test_a_file_says_what_is_loaded_broken_and_expected(tmp_path: Path) -> None:
    mine = load(tmp_path, MINE, "my scenario.v2.toml")
    assert mine.name == "my-scenario-v2"
    assert mine.load.rate == 40
    assert mine.load.timeout_ms == 2_000
    assert mine.variants["again"].arrangement == "sync-chain"
    assert mine.variants["async-bus"].arrangement == "async-bus"
    assert mine.variants["sync-chain"].options == {"workers": 4}
    assert mine.steady_state == ("read_feed.success >= 0.99",)
    assert mine.explain == "It waits."
    fault = mine.method[0].to_fault()
    assert (fault.kind, fault.target) == ("latency", "comments")
    assert fault.settings() == {"ms": 300.0, "jitter_ms": 20.0}


def test_text_and_list_need_no_table(tmp_path: Path) -> None:
    bare = 'explain = "Bare."\nsteady_state = ["read_feed.success > 0"]\n'
    mine = load(tmp_path, bare + MINE.split("[steady_state]")[0])
    assert (mine.explain, len(mine.steady_state)) == ("Bare.", 1)


def test_a_fault_lasts_for_during_unless_it_says_otherwise(tmp_path: Path) -> None:
    mine = load(tmp_path, MINE)
    assert lengths(mine.timeline()) == [("before", 3), ("during", 5), ("after", 4)]
    everybody = ("sync-chain", "again", "async-bus")
    for keys, expected in (
        ("", (3.5, 8.5, everybody)),
        ("at = 2\n", (5.5, 8.5, everybody)),
        ('at = 1\nseconds = 2\nvariants = ["again"]\n', (4.5, 6.5, ("again",))),
    ):
        changed = load(tmp_path, MINE.replace("ms = 300", f"{keys}ms = 300"))
        (window,) = changed.timeline().faults
        assert (window.from_s, window.until_s, window.variants) == expected


def test_in_a_sequence_every_method_has_its_phase(tmp_path: Path) -> None:
    turns = load(tmp_path, SEQUENCE)
    assert lengths(turns.timeline()) == [
        ("before", 2),
        ("posts down", 2),
        ("recovering", 1),
        ("event-bus down", 2),
        ("recovering", 1),
        ("after", 3),
    ]
    assert turns.reported_phases() == ("before", "posts down", "event-bus down", "after")
    assert turns.timeline().phases[3].faults[0].variants == ("async-bus",)
    without_rest = load(tmp_path, SEQUENCE.replace("between = 1.0", ""))
    assert "recovering" not in dict(lengths(without_rest.timeline()))


def test_quick_is_the_same_experiment_in_half_the_time(tmp_path: Path) -> None:
    mine = load(tmp_path, MINE.replace("ms = 300", "at = 1\nseconds = 3\nms = 300")).quick()
    assert lengths(mine.timeline()) == [("before", 1.5), ("during", 2.5), ("after", 2)]
    (window,) = mine.timeline().faults
    assert (window.from_s, window.seconds) == (2.5, 1.5)
    turns = load(tmp_path, SEQUENCE.replace("between = 1.0", "between = 0.4")).quick()
    assert lengths(turns.timeline())[1:3] == [("posts down", 1), ("recovering", 0.5)]
    assert load(tmp_path, MINE.replace("before = 3", "before = 2.6")).quick().phases.before == 1.5


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[load]", "[laod]", "laod: a scenario has no such key. Did you mean 'load'?"),
        ("rate = 40", "raet = 40", "load.raet: load has no such key. Did you mean 'rate'?"),
        ("rate = 40", 'rate = "40"', "load.rate: saw '40'; expected a number."),
        ("rate = 40", "rate = true", "load.rate: saw True; expected a number."),
        ("rate = 40", "rate = 0", "load.rate: saw 0; expected greater than 0."),
        ("rate = 40", "rate = inf", "load.rate: saw inf; expected"),
        (
            "read_feed = 6,",
            "read_fed = 6,",
            "load.mix: there is no 'read_fed'. Did you mean 'read_f",
        ),
        ("{ read_feed = 6, create_post = 1 }", "{ read_feed = 0 }", "nothing would be sent"),
        ("during = 5", "durring = 5", "Did you mean 'during'?"),
        ("during = 5", "during = 0", "phases.during: saw 0; expected greater than 0."),
        ("during = 5", "during = 6000", "expected 600 or less."),
        ('title = "Mine"', "", "title: is missing. Give it a value."),
        ('title = "Mine"', 'title = ""', "title: saw ''; expected some text."),
        ('title = "Mine"', f'title = "{"x" * 201}"', "at most 200 characters"),
        ('title = "Mine"', 'title = "Mine"\nname = "x"', "named by its file"),
        ('"slowest-hop"]', '"slowest-hop", "slow-hop"]', "Did you mean 'slowest-hop'?"),
        ('fault = "latency"', 'fault = "latancy"', "method 1: There is no fault 'latancy'."),
        ("jitter_ms = 20", "jiter_ms = 20", "method 1: 'latency' has no option 'jiter_ms'."),
        ("ms = 300\n", "", "method 1: 'latency' needs 'ms'"),
        ('target = "comments"', 'target = "coments"', "Did you mean 'comments'?"),
        ("ms = 300", "at = 4\nseconds = 2\nms = 300", "method 1: would last beyond the 5 s"),
        ("ms = 300", "at = 5\nms = 300", "method 1: would last beyond the 5 s"),
        ("ms = 300", 'variants = ["agian"]\nms = 300', "Did you mean 'again'?"),
        (
            'target = "comments"',
            'target = "event-bus"\nvariants = ["again"]',
            "acts on none of its variants",
        ),
        ('arrangement = "sync-chain"', "", "there is no arrangement 'again'."),
        ("workers = 4", "worker = 4", "sync-chain has no switch 'worker'. Did you mean 'workers'?"),
        ("[variants.async-bus]", "[variants.async-bus]\ntimeout_ms = 9", "async-bus has no switch"),
        ("workers = 4", "workers = 0", "saw 0; expected a whole number, 1 to 256."),
        ("workers = 4", "workers = true", "variants.sync-chain.workers: saw True"),
        ("workers = 4", "width = 50\nbulkhead = true", "lets 4 pass, half of the workers"),
        ("workers = 4", "workers = 98\nwidth = 50\nbulkhead = true", "Take workers = 100, or"),
        ("[variants.again]", "[variants.Again_]", "small letters, digits and hyphens"),
        ("[steady_state]\nthat", "[steady_state]\nthis", "one key, 'that', and nothing else"),
        (
            "read_feed.success >=",
            "read_feed.sucess >=",
            "steady_state 1: 'read_feed.sucess' has no",
        ),
        ('that = "sync-chain', 'taht = "sync-chain', "expect 1 that: is missing"),
        ('that = "sync-chain', 'that = "sink-chain', "expect 1: 'sink-chain.during.read_feed.p50'"),
        ('claim = "slowest-hop"', 'claim = "one-down"', "is not in the scenario's `claims`"),
        ("[load]", "[load", "is not valid TOML"),
    ],
)
def test_a_mistake_is_reported_with_its_key_and_a_suggestion(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert old in MINE
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, MINE.replace(old, new, 1))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "mine.toml"))


def test_a_bulkhead_that_lets_a_whole_feed_pass_is_accepted(tmp_path: Path) -> None:
    load(tmp_path, MINE.replace("workers = 4", "workers = 100\nwidth = 50\nbulkhead = true"))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    values = MINE.replace("rate = 40", "rate = -1").replace("during = 5", 'during = "5"')
    names = MINE.replace("latency", "latancy").replace("sync-chain.during", "sync-chain.durign")
    for text in (values, names):
        with pytest.raises(ScenarioError) as caught:
            load(tmp_path, text)
        assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('target = "event-bus"', 'target = "posts"', "is there 2 times"),
        ('target = "event-bus"', 'target = "event-bus"\nat = 1', "Remove at and seconds"),
        ("event-bus_down.read", "during.read", "has no phase 'during'"),
    ],
)
def test_a_sequence_has_more_rules(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, SEQUENCE.replace(old, new))
    assert sentence in str(caught.value)


def test_a_missing_or_binary_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="can't be read"):
        Scenario.load_file(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(ScenarioError, match="byte 9 is not UTF-8"):
        Scenario.load_file(tmp_path / "binary.toml")


def test_a_scenario_is_found_by_its_name_or_its_path(tmp_path: Path) -> None:
    load(tmp_path, MINE)
    assert catalogue.find(str(tmp_path / "mine.toml")).title == "Mine"
    for unknown, says in (("slow-servise", "Did you mean 'slow-service'"), ("./x.toml", "no file")):
        with pytest.raises(catalogue.UnknownName, match=says):
            catalogue.find(unknown)


def test_a_bet_is_measured_or_has_answers_of_its_own(tmp_path: Path) -> None:
    measured = '[[bet]]\nquestion = "Who can read?"\nmeasure = "reads"\n'
    own = '[[bet]]\nquestion = "Why?"\nanswers = ["It waits.", "It is down."]\n'
    bets = load(tmp_path, MINE + measured + own).bet
    assert [(bet.measure, bet.answers) for bet in bets] == [
        ("reads", ()),
        (None, ("It waits.", "It is down.")),
    ]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ('measure = "raeds"', "bet 1 measure: saw 'raeds'"),
        ('answers = ["one"]', "a bet needs two to four `answers`, or `measure`"),
        ("", "a bet needs two to four `answers`, or `measure`"),
        ('answers = ["one", "one"]', "two of the `answers` are the same"),
        ('answers = ["1", "2", "3", "4", "5"]', "bet 1 answers: saw"),
        ('answers = ["1", "2"]\nmeasure = "reads"', "`measure` has its own answers"),
    ],
)
def test_a_wrong_bet_is_refused(tmp_path: Path, keys: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match="bet") as caught:
        load(tmp_path, MINE + f'[[bet]]\nquestion = "Who?"\n{keys}\n')
    assert sentence in str(caught.value)
