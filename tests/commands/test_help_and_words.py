"""The command line before anything runs: its help, its arguments, its answers to wrong ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.bus_engines import ENGINES
from lab.domain.services import BUS, SERVICES
from lab.report.terminal.code_diff import FILES
from lab.results.claims import CLAIMS
from lab.scenarios import catalogue
from tests.support.command_line import invoke_lab
from tests.support.nats_lab import nats_is_installed
from tests.support.small import (
    CLI,
    ROOT,
    SLOW_POSTS,
    environment,
    join_lines,
    run_lab,
    scenario_file,
    scenario_text,
)

COMMANDS = (
    *("list", "show", "run", "report", "up", "fault", "heal", "events", "redrive", "diff"),
    *("design", "claims", "trace", "adopt", "check", "new", "validate", "live", "doctor"),
    "version",
)
PROGRAMS = [
    *dict.fromkeys(module for of in ARRANGEMENTS.values() for module in of.programs.values()),
    *(ENGINES[engine][BUS] for engine in ENGINES if engine != "nats" or nats_is_installed()),
    "lab.load.generator",
]
SCRIPT = Path(sys.executable).with_name("lab")
READ_ONLY_COMMANDS = [
    ["list"],
    ["claims"],
    *(["show", name] for name in catalogue.builtin_names()),
    *(["diff", file] for file in FILES),
    *(["diff", "comments", other] for other in ARRANGEMENTS),
]
ONE_OF_EACH = [
    *(["list"], ["claims"], ["show", "calm"], ["show", "retry-storm"], ["diff", "comments"]),
    *(["diff", "comments", "request-reply"], ["doctor"], ["version"]),
]


def parameter_id(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else ""


# ── Output


def test_without_a_word_the_lab_lists_its_commands(tmp_path: Path) -> None:
    said = invoke_lab(cwd=tmp_path)
    told = join_lines(said.stdout + said.stderr)
    assert all(f" {command} " in told for command in COMMANDS)
    assert "Start with: lab list" in told


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_an_example(tmp_path: Path, command: str) -> None:
    said = invoke_lab(command, "--help", cwd=tmp_path)
    assert said.returncode == 0
    assert re.search(rf"Example: lab {command}\b.* Next\b", join_lines(said.stdout))
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "\x1b" not in said.stdout


@pytest.mark.parametrize("words", READ_ONLY_COMMANDS, ids=" ".join)
def test_tables_fit_80_columns_and_are_plain_in_a_pipe(tmp_path: Path, words: list[str]) -> None:
    said = invoke_lab(*words, cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "\x1b" not in said.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ONE_OF_EACH, ids=" ".join)
def test_a_terminal_that_knows_only_ascii_gets_ascii(tmp_path: Path, words: list[str]) -> None:
    said = invoke_lab(*words, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert said.stdout
    assert said.stdout.isascii()


@pytest.mark.parametrize("file", FILES)
def test_the_twins_side_by_side_lose_no_line(tmp_path: Path, file: str) -> None:
    said = invoke_lab("diff", file, cwd=tmp_path, COLUMNS="240")
    assert max(map(len, said.stdout.splitlines())) <= 240
    shown = join_lines(said.stdout)
    for package in ("sync_chain", "async_bus"):
        for line in (ROOT / "lab" / package / f"{file}.py").read_text("utf-8").splitlines():
            assert join_lines(line) in shown


@pytest.mark.parametrize("other", ["request-reply", "monolith"])
def test_the_diff_names_the_carrier_where_only_that_differs(tmp_path: Path, other: str) -> None:
    shown = join_lines(invoke_lab("diff", "comments", other, cwd=tmp_path).stdout)
    assert f"comments.py of {other} is the file of sync-chain itself" in shown
    for line in re.findall(r"lab/sync_chain/\w+\.py", shown):
        assert (ROOT / line).is_file()


def test_every_claim_and_every_scenario_is_listed(tmp_path: Path) -> None:
    listed, claims = (
        invoke_lab("list", cwd=tmp_path).stdout,
        invoke_lab("claims", cwd=tmp_path).stdout,
    )
    for name in catalogue.builtin_names():
        assert re.search(rf"^{name} ", listed, re.MULTILINE)
        assert name in claims
    assert all(re.search(rf"^{claim}  ", claims, re.MULTILINE) for claim in CLAIMS)


def test_a_scenario_from_a_file_is_shown_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "my").mkdir()
    scenario_file(tmp_path / "my", "own", SLOW_POSTS, title="All mine")
    shown = invoke_lab("show", "my/own.toml", cwd=tmp_path).stdout
    assert "All mine" in shown
    assert "posts: latency" in shown
    assert shown.rstrip().endswith("lab run my/own.toml")


# ── Wrong arguments


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
        (["run"], "`lab run all` runs them"),
        (["run", "--tag", "cain"], "Did you mean 'chain'?"),
        (["report", "nowhere"], "nowhere: can't be read"),
        (["compare", "nowhere", "there"], "nowhere: can't be read"),
        (["run", "calm", "--json", "--plot"], "no place for --plot"),
        (["run", "here"], "here is there, but a scenario's file has a name ending in .toml"),
        (["trace", "--run", "here"], "here is no run's folder: samples.csv: No such file"),
        (["exercise", "start", "tiemout", "mine"], "There are: timeout"),
        (["exercise", "check", "nowhere"], "lab exercise start timeout nowhere"),
    ],
    ids=parameter_id,
)
def test_a_wrong_word_is_answered_with_the_right_one(
    tmp_path: Path, words: list[str], teaches: str
) -> None:
    (tmp_path / "here").mkdir()
    said = invoke_lab(*words, cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert teaches in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert [one.name for one in tmp_path.rglob("*")] == ["here"]


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
    ids=parameter_id,
)
def test_an_option_that_makes_no_sense_is_named(
    tmp_path: Path, words: list[str], names: str
) -> None:
    said = invoke_lab(*words, cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert names.lower() in said.stderr.lower()
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
def test_a_scenario_that_can_not_run_is_refused_in_sentences(
    tmp_path: Path, text: str, teaches: str
) -> None:
    (tmp_path / "broken.toml").write_text(text)
    for command in ("show", "run"):
        said = invoke_lab(command, "broken.toml", cwd=tmp_path)
        assert (said.returncode, said.stdout) == (2, "")
        assert teaches in said.stderr
        assert all(re.match(r"broken\.toml:(\d+:)? ", line) for line in said.stderr.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == ["broken.toml"]


def test_a_folder_that_can_not_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    said = invoke_lab("run", "calm", "--keep", "taken", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr.startswith("The folder of the run can't be created")
    assert len(said.stderr.splitlines()) == 1
    assert "--keep" in said.stderr
    assert (tmp_path / "taken").is_file()


# ── In processes


@pytest.mark.parametrize("words", [["diff", "comments"], ["run", "slow-servce"]], ids=parameter_id)
def test_script_and_checkout_say_what_is_said_in_process(tmp_path: Path, words: list[str]) -> None:
    programs = [CLI, (str(SCRIPT),)] if SCRIPT.exists() else [CLI]
    for program in programs:
        done = run_lab(*words, cwd=tmp_path, program=program)
        assert (done.returncode, done.stdout, done.stderr) == invoke_lab(*words, cwd=tmp_path)


def test_the_four_steps_are_shown_for_every_arrangement(tmp_path: Path) -> None:
    said = run_lab("design", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert all(name in said.stdout for name in (*ARRANGEMENTS, *SERVICES))
    assert "\x1b" not in said.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_imports_nothing_heavy() -> None:
    look = (
        "import sys; sys.argv = ['lab', '--help']; from lab.commands import app\n"
        "loaded = set(sys.modules)\n"
        "try: app.main()\n"
        "except SystemExit: pass\n"
        "loaded |= set(sys.modules)\n"
        "sys.stderr.write(' '.join({'aiohttp', 'requests', 'psutil', 'lab.scenarios'} & loaded))"
    )
    said = run_lab("-c", look, cwd=ROOT, program=(sys.executable,))
    assert "Usage" in said.stdout
    assert (said.returncode, said.stderr) == (0, "")


def test_every_process_of_the_lab_is_a_program_with_help() -> None:
    """Run each with `python -m`, one after the other."""
    look = (
        "import runpy, sys, warnings\n"
        "warnings.simplefilter('ignore')  # that a module is imported already\n"
        "for module in sys.argv[1:]:\n"
        "    sys.argv = [module, '--help']\n"
        "    try: runpy.run_module(module, run_name='__main__', alter_sys=True)\n"
        "    except SystemExit as end: print('ended with', end.code)\n"
    )
    said = run_lab("-c", look, *PROGRAMS, cwd=ROOT, program=(sys.executable,))
    assert said.stdout.count("ended with 0") == len(PROGRAMS), said.stdout + said.stderr
    for module in PROGRAMS:
        assert re.search(rf"^usage: python -m {module}\b", said.stdout, re.MULTILINE)


def test_a_reader_who_leaves_early_sees_no_traceback(tmp_path: Path) -> None:
    pipe, command = subprocess.PIPE, [*CLI, "diff", "comments"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe
    ) as one:
        assert one.stdout is not None
        assert one.stderr is not None
        one.stdout.close()
        assert b"Traceback" not in one.stderr.read()
