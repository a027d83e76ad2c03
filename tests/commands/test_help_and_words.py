"""The command line before anything runs: its help, its arguments, its messages about wrong ones."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.bus_engines import ENGINES
from lab.commands.app import FRONT, app
from lab.domain.services import BUS, SERVICES
from lab.report.terminal.code_diff import FILES
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

COMMAND_LINE: Any = typer.main.get_command(app)
COMMANDS = [name for name in COMMAND_LINE.commands if name != "exercise"]  # a group of commands
PROGRAMS = [
    *dict.fromkeys(
        module for arrangement in ARRANGEMENTS.values() for module in arrangement.programs.values()
    ),
    *(ENGINES[engine][BUS] for engine in ENGINES if engine != "nats" or nats_is_installed()),
    "lab.load.generator",
]
SCRIPT = Path(sys.executable).with_name("lab")
READ_ONLY_COMMANDS = [
    [],
    ["start"],
    ["list"],
    ["list", "--all"],
    ["claims"],
    *(["show", name] for name in catalogue.builtin_names()),
    *(["diff", file] for file in FILES),
    *(["diff", "comments", other] for other in ARRANGEMENTS),
]
ONE_OF_EACH = [
    ["start"],
    ["list"],
    ["list", "--all"],
    ["claims"],
    ["show", "calm"],
    ["show", "retry-storm"],
    ["diff", "comments"],
    ["diff", "comments", "request-reply"],
    ["doctor"],
    ["version"],
]


def parameter_id(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else ""


# ── Output


def test_the_help_has_seven_commands_in_front(tmp_path: Path) -> None:
    ended = invoke_lab("--help", cwd=tmp_path)
    front, more = ended.stdout.split("─ Commands ─")[1].split("─ More ─")
    listed = [re.findall(r"^│ ([a-z]+) ", part, re.MULTILINE) for part in (front, more)]
    assert listed[0] == list(FRONT)
    assert sorted(listed[0] + listed[1]) == sorted(COMMAND_LINE.commands)
    assert "Start with: lab start" in join_lines(ended.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_an_example(tmp_path: Path, command: str) -> None:
    ended = invoke_lab(command, "--help", cwd=tmp_path)
    assert ended.returncode == 0
    assert re.search(rf"Example: lab {command}\b.* Next\b", join_lines(ended.stdout))
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert "<bool>" not in ended.stdout  # a flag takes no value
    assert "\x1b" not in ended.stdout


@pytest.mark.parametrize("words", READ_ONLY_COMMANDS, ids=" ".join)
def test_tables_fit_80_columns_and_are_plain_in_a_pipe(tmp_path: Path, words: list[str]) -> None:
    ended = invoke_lab(*words, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert "\x1b" not in ended.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ONE_OF_EACH, ids=" ".join)
def test_a_terminal_that_knows_only_ascii_gets_ascii(tmp_path: Path, words: list[str]) -> None:
    ended = invoke_lab(*words, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert ended.stdout
    assert ended.stdout.isascii()


@pytest.mark.parametrize("file", FILES)
def test_the_twins_side_by_side_lose_no_line(tmp_path: Path, file: str) -> None:
    ended = invoke_lab("diff", file, cwd=tmp_path, COLUMNS="240")
    assert max(map(len, ended.stdout.splitlines())) <= 240
    shown = join_lines(ended.stdout)
    for package in ("sync_chain", "async_bus"):
        for line in (ROOT / "lab" / package / f"{file}.py").read_text("utf-8").splitlines():
            assert join_lines(line) in shown


@pytest.mark.parametrize("other", ["request-reply", "monolith"])
def test_the_diff_names_the_transport_where_only_that_differs(tmp_path: Path, other: str) -> None:
    shown = join_lines(invoke_lab("diff", "comments", other, cwd=tmp_path).stdout)
    assert f"comments.py of {other} is the file of sync-chain itself" in shown
    for line in re.findall(r"lab/sync_chain/\w+\.py", shown):
        assert (ROOT / line).is_file()


def test_a_scenario_from_a_file_is_shown_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "my").mkdir()
    scenario_file(tmp_path / "my", "own", SLOW_POSTS, title="All mine")
    shown = invoke_lab("show", "my/own.toml", cwd=tmp_path).stdout
    assert "All mine" in shown
    assert "posts: latency" in shown
    assert shown.rstrip().endswith("lab run my/own.toml")


# ── Wrong arguments


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "slow-servce"], "Did you mean 'slow-service'?"),
        (["show", "slowservice"], "Did you mean 'slow-service'?"),
        (["run", "missing.toml"], "There is no file missing.toml."),
        (["run", "~nobody-at-all/x.toml"], "There is no file ~nobody-at-all/x.toml."),
        (["run", "calm", "--only", "async-buss"], "Did you mean 'async-bus'?"),
        (["diff", "coments"], "Did you mean 'comments'?"),
        (["diff", "comments", "requestreply"], "Did you mean 'request-reply'?"),
        (["up", "sync-chian"], "Did you mean 'sync-chain'?"),
        (["fault", "latency"], "Try: lab fault latency comments --ms 300"),
        (["fault", "latency", "query"], "needs --ms (added delay, in ms). Try: lab fault latency"),
        (["fault", "partition", "posts"], "Try: lab fault partition posts --from query"),
        (["fault", "poison"], "Try: lab fault poison event-bus --type CommentCreated"),
        (["fault", "latency", "posts", "--ms", "-5"], "'latency' can't have --ms -5.0: input"),
        (["fault", "latency", "posts", "--ms", "5", "--status", "500"], "no option --status"),
        (["fault", "down", "posts", "--probability", "0.5"], "'down' takes no "),
        (["fault", "kill", "comments"], "Did you mean 'down'?"),
        (["fault", "slow", "comments"], "Did you mean 'latency'?"),
        (["heal", "--kind", "kill"], "Did you mean 'down'?"),
        (["run", "calm", "--set", "retrys=3"], "no variant of calm has a switch 'retrys'. Did you"),
        (["run", "calm", "--set", "retries"], "expected NAME=VALUE"),
        (["run", "calm", "--csv", "nowhere/x.csv"], "expected a file in an existing folder"),
        (["live", "--set", "retrys=3"], "Did you mean 'retries'?"),
        (["run"], "`lab run all` runs them"),
        (["run", "--tag", "cain"], "Did you mean 'chain'?"),
        (["report", "nowhere"], "Run a scenario first: lab run slow-service"),
        (["compare", "nowhere", "there"], "There is no saved run"),
        (["run", "calm", "--json", "--plot"], "no place for --plot"),
        (["run", "here"], "here is there, but a scenario's file has a name ending in .toml"),
        (["trace", "--run", "here"], "here is no run's folder: samples.csv: No such file"),
        (["exercise", "start", "tiemout", "mine"], "There are: timeout"),
        (["exercise", "check", "nowhere"], "lab exercise start timeout nowhere"),
    ],
    ids=parameter_id,
)
def test_a_wrong_word_gets_a_suggestion(tmp_path: Path, words: list[str], hint: str) -> None:
    (tmp_path / "here").mkdir()
    ended = invoke_lab(*words, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert hint in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


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
def test_a_wrong_option_is_named(tmp_path: Path, words: list[str], names: str) -> None:
    ended = invoke_lab(*words, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert names.lower() in ended.stderr.lower()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("title = no quotes", "is not valid TOML"),
        ("a = " + "[" * 5_000, "is not valid TOML"),
        ("rate = " + "9" * 5_000, "is not valid TOML"),
        ('title = "x"\n', "variants: is missing"),
        (scenario_text({**SLOW_POSTS, "target": "post"}), "Did you mean 'posts'?"),
        (scenario_text({**SLOW_POSTS, "fault": "latncy"}), "Did you mean 'latency'?"),
        (scenario_text({"fault": "latency", "target": "posts"}), "needs 'ms'"),
        (scenario_text(variants=("sync-chian",)), "Did you mean 'sync-chain'?"),
        (scenario_text(expect="sync-chain.dta.lost == 0"), "Did you mean 'data'?"),
    ],
)
def test_a_scenario_that_can_not_run_is_refused_in_sentences(
    tmp_path: Path, text: str, hint: str
) -> None:
    (tmp_path / "broken.toml").write_text(text)
    for command in ("show", "run"):
        ended = invoke_lab(command, "broken.toml", cwd=tmp_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert hint in ended.stderr
        assert all(re.match(r"broken\.toml:(\d+:)? ", line) for line in ended.stderr.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == ["broken.toml"]


def test_a_folder_that_can_not_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    ended = invoke_lab("run", "calm", "--keep", "taken", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("The folder of the run can't be created")
    assert len(ended.stderr.splitlines()) == 1
    assert "--keep" in ended.stderr
    assert (tmp_path / "taken").is_file()


# ── In processes


@pytest.mark.parametrize("words", [["diff", "comments"], ["run", "slow-servce"]], ids=parameter_id)
def test_script_and_checkout_print_the_same_as_in_process(tmp_path: Path, words: list[str]) -> None:
    programs = [CLI, (sys.executable, "-m", "lab")]
    programs += [(str(SCRIPT),)] if SCRIPT.exists() else []
    for program in programs:
        done = run_lab(*words, cwd=tmp_path, program=program)
        assert (done.returncode, done.stdout, done.stderr) == invoke_lab(*words, cwd=tmp_path)


def test_the_four_steps_are_shown_for_every_arrangement(tmp_path: Path) -> None:
    ended = run_lab("design", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert all(name in ended.stdout for name in (*ARRANGEMENTS, *SERVICES))
    assert "\x1b" not in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['lab', '--help']; from lab.commands import app\n"
        "loaded = set(sys.modules)\n"
        "try: app.main()\n"
        "except SystemExit: pass\n"
        "loaded |= set(sys.modules)\n"
        "sys.stderr.write(' '.join({'aiohttp', 'requests', 'psutil', 'lab.scenarios'} & loaded))"
    )
    ended = run_lab("-c", script, cwd=ROOT, program=(sys.executable,))
    assert "Usage" in ended.stdout
    assert (ended.returncode, ended.stderr) == (0, "")


def test_every_process_of_the_lab_is_a_program_with_help() -> None:
    """Run each with `python -m`, one after the other."""
    script = (
        "import runpy, sys, warnings\n"
        "warnings.simplefilter('ignore')  # that a module is imported already\n"
        "for module in sys.argv[1:]:\n"
        "    sys.argv = [module, '--help']\n"
        "    try: runpy.run_module(module, run_name='__main__', alter_sys=True)\n"
        "    except SystemExit as end: print('ended with', end.code)\n"
    )
    ended = run_lab("-c", script, *PROGRAMS, cwd=ROOT, program=(sys.executable,))
    assert ended.stdout.count("ended with 0") == len(PROGRAMS), ended.stdout + ended.stderr
    for module in PROGRAMS:
        assert re.search(rf"^usage: python -m {module}\b", ended.stdout, re.MULTILINE)


def test_a_reader_who_leaves_early_sees_no_traceback(tmp_path: Path) -> None:
    pipe, command = subprocess.PIPE, [*CLI, "diff", "comments"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
