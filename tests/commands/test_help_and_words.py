"""The command line before anything runs: its help, its words, what it says to wrong ones."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cluster.engines import ENGINES
from lab.cluster.topology import ARRANGEMENTS
from lab.domain.directory import BUS, SERVICES
from lab.report.twins import FILES
from lab.scenarios import catalogue
from lab.scenarios.claims import CLAIMS
from tests.support.nats_lab import nats_is_here
from tests.support.small import (
    CLI,
    ROOT,
    SLOW_POSTS,
    environment,
    flat,
    lab,
    scenario_file,
    scenario_text,
)

COMMANDS = (
    "list",
    "show",
    "run",
    "report",
    "up",
    "fault",
    "heal",
    "events",
    "redrive",
    "diff",
    "design",
    "claims",
    "trace",
    "adopt",
    "check",
    "new",
    "validate",
    "live",
    "doctor",
    "version",
)
PROGRAMS = [
    *dict.fromkeys(module for of in ARRANGEMENTS.values() for module in of.programs.values()),
    *(ENGINES[engine][BUS] for engine in ENGINES if engine != "nats" or nats_is_here()),
    "lab.load.generator",
]
SCRIPT = Path(sys.executable).with_name("lab")
LOOKS = [
    ["list"],
    ["claims"],
    *(["show", name] for name in catalogue.names()),
    *(["diff", file] for file in FILES),
    *(["diff", "comments", other] for other in ARRANGEMENTS),
]
ONE_OF_EACH = [
    *(["list"], ["claims"], ["show", "calm"], ["show", "retry-storm"], ["diff", "comments"]),
    *(["diff", "comments", "request-reply"], ["doctor"], ["version"]),
]


def test_without_a_word_the_lab_says_what_can_be_said(tmp_path: Path) -> None:
    said = lab(cwd=tmp_path)
    told = flat(said.stdout + said.stderr)
    assert all(f" {command} " in told for command in COMMANDS)
    assert "Start with: lab list" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_an_example_and_what_to_try_next(
    tmp_path: Path, command: str
) -> None:
    said = lab(command, "--help", cwd=tmp_path)
    assert said.returncode == 0
    assert re.search(rf"Example: lab {command}\b.* Next\b", flat(said.stdout))
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "\x1b" not in said.stdout


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_what_can_be_looked_at_fits_80_columns_and_is_plain_in_a_pipe(
    tmp_path: Path, words: list[str]
) -> None:
    said = lab(*words, cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "\x1b" not in said.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", FILES)
def test_no_line_of_the_twins_is_lost_where_they_stand_side_by_side(
    tmp_path: Path, file: str
) -> None:
    said = lab("diff", file, cwd=tmp_path, COLUMNS="240")
    assert max(map(len, said.stdout.splitlines())) <= 240
    shown = flat(said.stdout)
    for package in ("sync_chain", "async_bus"):
        for line in (ROOT / "lab" / package / f"{file}.py").read_text("utf-8").splitlines():
            assert flat(line) in shown


@pytest.mark.parametrize("other", ["request-reply", "monolith"])
def test_where_only_the_carrier_differs_the_diff_says_so(tmp_path: Path, other: str) -> None:
    shown = flat(lab("diff", "comments", other, cwd=tmp_path).stdout)
    assert f"comments.py of {other} is the file of sync-chain itself" in shown
    for line in re.findall(r"lab/sync_chain/\w+\.py", shown):
        assert (ROOT / line).is_file()


def test_every_claim_and_every_scenario_is_listed(tmp_path: Path) -> None:
    listed, claims = lab("list", cwd=tmp_path).stdout, lab("claims", cwd=tmp_path).stdout
    for name in catalogue.names():
        assert re.search(rf"^{name} ", listed, re.MULTILINE)
        assert name in claims
    assert all(re.search(rf"^{claim}  ", claims, re.MULTILINE) for claim in CLAIMS)


@pytest.mark.parametrize("words", ONE_OF_EACH, ids=" ".join)
def test_a_terminal_that_knows_only_ascii_gets_what_it_can_show(
    tmp_path: Path, words: list[str]
) -> None:
    said = lab(*words, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert "Traceback" not in said.stderr
    assert said.stdout
    assert said.stdout.isascii()


def test_the_four_steps_of_the_course_are_shown_for_every_arrangement(tmp_path: Path) -> None:
    said = lab("design", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert all(name in said.stdout for name in (*ARRANGEMENTS, *SERVICES))
    assert "\x1b" not in said.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_scenario_of_ones_own_is_shown_with_the_command_that_runs_it(tmp_path: Path) -> None:
    (tmp_path / "my").mkdir()
    scenario_file(tmp_path / "my", "own", SLOW_POSTS, title="All mine")
    shown = lab("show", "my/own.toml", cwd=tmp_path).stdout
    assert "All mine" in shown
    assert "posts: latency" in shown
    assert shown.rstrip().endswith("lab run my/own.toml")


@pytest.mark.parametrize(
    ("words", "teaches"),
    [
        (["run", "slow-servce"], "Did you mean 'slow-service'?"),
        (["show", "slowservice"], "Did you mean 'slow-service'?"),
        (["run", "missing.toml"], "There is no file missing.toml."),
        (["run", "~nobody-at-all/x.toml"], "There is no file ~nobody-at-all/x.toml."),
        (["run", "calm", "--only", "async-buss"], "Did you mean 'async-bus'?"),
        (["diff", "coments"], "Did you mean 'comments'?"),
        (["diff", "comments", "requestreply"], "Did you mean 'request-reply'?"),
        (["up", "sync-chian"], "Did you mean 'sync-chain'?"),
        (["fault", "latency"], "Try: lab fault latency comments"),
        (["run"], "`lab run all` runs every one"),
        (["run", "--tag", "cain"], "Did you mean 'chain'?"),
        (["report", "nowhere"], "nowhere: can't be read"),
        (["compare", "nowhere", "there"], "nowhere: can't be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_is_answered_with_the_one_that_was_probably_meant(
    tmp_path: Path, words: list[str], teaches: str
) -> None:
    said = lab(*words, cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert teaches in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["lst"], "lst"),
        (["run", "calm", "--quik"], "--quik"),
        (["run", "calm", "--rate", "0"], "--rate"),
        (["run", "calm", "--rate", "nan"], "--rate"),
        (["run", "calm", "--seed", "seven"], "--seed"),
        (["diff"], "SERVICE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_that_makes_no_sense_is_named(
    tmp_path: Path, words: list[str], names: str
) -> None:
    said = lab(*words, cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert names.lower() in said.stderr.lower()
    assert "Traceback" not in said.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "teaches"),
    [
        ("title = no quotes", "is no TOML"),
        ("a = " + "[" * 5_000, "is no TOML"),
        ("rate = " + "9" * 5_000, "is no TOML"),
        ('title = "x"\n', "variants: is missing"),
        (scenario_text({**SLOW_POSTS, "target": "post"}), "Did you mean 'posts'?"),
        (scenario_text({**SLOW_POSTS, "fault": "latncy"}), "Did you mean 'latency'?"),
        (scenario_text({"fault": "latency", "target": "posts"}), "needs 'ms'"),
        (scenario_text(variants=("sync-chian",)), "Did you mean 'sync-chain'?"),
        (scenario_text(expect="sync-chain.dta.lost == 0"), "Did you mean 'data'?"),
    ],
)
def test_a_scenario_that_can_not_be_run_is_refused_in_sentences(
    tmp_path: Path, text: str, teaches: str
) -> None:
    (tmp_path / "broken.toml").write_text(text)
    for command in ("show", "run"):
        said = lab(command, "broken.toml", cwd=tmp_path)
        assert (said.returncode, said.stdout) == (2, "")
        assert teaches in said.stderr
        assert all(re.match(r"broken\.toml:(\d+:)? ", line) for line in said.stderr.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == ["broken.toml"]


def test_a_folder_that_can_not_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    said = lab("run", "calm", "--keep", "taken", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr.startswith("No folder can be made for the run")
    assert len(said.stderr.splitlines()) == 1
    assert "--keep" in said.stderr
    assert stat.S_ISREG((tmp_path / "taken").stat().st_mode)


def test_nothing_heavy_is_imported_to_answer_for_help() -> None:
    look = (
        "import sys; sys.argv = ['lab', '--help']; from lab.commands import app\n"
        "loaded = set(sys.modules)\n"
        "try: app.main()\n"
        "except SystemExit: pass\n"
        "loaded |= set(sys.modules)\n"
        "sys.stderr.write(' '.join({'aiohttp', 'requests', 'psutil', 'lab.scenarios'} & loaded))"
    )
    said = lab("-c", look, cwd=ROOT, program=(sys.executable,))
    assert "Usage" in said.stdout
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.skipif(not SCRIPT.exists(), reason="the package is not installed in this environment")
def test_the_installed_command_is_the_same_program(tmp_path: Path) -> None:
    for words in (["list"], ["run", "slow-servce"]):
        by_script = lab(*words, cwd=tmp_path, program=(str(SCRIPT),))
        by_path = lab(*words, cwd=tmp_path)
        assert (by_script.returncode, by_script.stdout, by_script.stderr) == (
            by_path.returncode,
            by_path.stdout,
            by_path.stderr,
        )


def test_every_process_of_the_lab_is_a_program_with_help() -> None:
    running = {
        module: subprocess.Popen(
            [sys.executable, "-m", module, "--help"],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for module in PROGRAMS
    }
    for module, process in running.items():
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert f"usage: python -m {module}" in said
        assert "Traceback" not in said


def test_a_reader_who_leaves_early_sees_no_traceback(tmp_path: Path) -> None:
    command = [*CLI, "diff", "comments"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe
    ) as one:
        assert one.stdout is not None
        assert one.stderr is not None
        one.stdout.close()
        assert b"Traceback" not in one.stderr.read()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "calm", "--json", "--plot"], "no place for --plot"),
        (["run", "here"], "here is there, but a scenario's file has a name ending in .toml"),
        (["trace", "--run", "here"], "here is no run's folder: samples.csv: No such file"),
    ],
)
def test_what_is_there_and_is_not_what_was_meant_is_named(
    tmp_path: Path, words: list[str], says: str
) -> None:
    (tmp_path / "here").mkdir()
    said = lab(*words, cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert says in flat(said.stderr)
