"""`lab simulate` as a user types it, and `lab.simulate` from Python."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lab
from lab.simulation.fleet import ExtraMissing, world
from tests.simulation.fleet.test_calibration import run_folder
from tests.support.command_line import invoke_lab


def test_one_screen_answers_and_says_that_it_is_simulated(tmp_path: Path) -> None:
    done = invoke_lab("simulate", "downed-service", "--services", "40", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 35
    assert lines[0].endswith("simulated")
    assert "1 of 10 shards" in " ".join(lines[1:3])
    saved = list((tmp_path / "runs").glob("*-simulated-downed-service"))
    assert [path.name for path in sorted(saved[0].iterdir())] == [
        "report.html",
        "result.json",
        "samples.csv",
    ]
    listed = invoke_lab("runs", "--json", cwd=tmp_path)
    assert [run["simulated"] for run in json.loads(listed.stdout)] == [True]


def test_json_is_one_document(tmp_path: Path) -> None:
    words = ("simulate", "calm", "--quick", "--json", "--seed", "3", "-q")
    document = json.loads(invoke_lab(*words, cwd=tmp_path).stdout)
    assert (document["schema"], document["simulated"], document["seed"]) == (
        "lab.result/1",
        True,
        3,
    )


def test_a_sweep_prints_tables_and_saves_a_chart(tmp_path: Path) -> None:
    words = ("simulate", "downed-service", "--sweep", "services=8,16", "--quick")
    done = invoke_lab(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "What it costs (simulated)" in done.stdout
    assert "connections" in done.stdout  # the headings fit in 80 columns
    assert "-  left out: there the model missed the real lab" in done.stdout
    assert "<svg" in next((tmp_path / "runs").glob("*/cost.svg")).read_text("utf-8")
    slider = next((tmp_path / "runs").glob("*/sweep.html"))
    assert f"The page with a slider: {slider.relative_to(tmp_path)}" in done.stderr


def test_the_list_says_what_is_covered_and_why_not(tmp_path: Path) -> None:
    shown = invoke_lab("simulate", "--list", cwd=tmp_path).stdout
    covered, others = shown.split("Not these:")
    assert {"downed-service", "fleet-storm"} <= set(re.split(r",?\s+", covered))
    assert "poison-event" in others
    assert "lab simulate lost-events --only log" in " ".join(others.split())
    assert max(map(len, shown.splitlines())) <= 80
    listed = json.loads(invoke_lab("simulate", "--list", "--json", cwd=tmp_path).stdout)
    assert {"name": "calm", "not_covered": None} in listed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Which scenario?"),
        (("downed-service", "--rate", "inf"), "is not a number of arrivals per second"),
        (("downed-service", "--services", "2"), "a shard has 4"),
        (("downed-service", "--services", "0"), "greater than or equal to 1"),
        (("downed-service", "--sweep", "services=40,2"), "a shard has 4; saw 2"),
        (("downed-service", "--sweep", "rate=20,nan"), "is not a number of arrivals per second"),
        (("downed-service", "--services", "1000", "--rate", "1e12"), "Lower --rate"),
        (("downed-service", "--services", "100000"), "a fleet has at most 16,384 services"),
        (("downed-service", "--validate", "--from", "nowhere"), "the folder of a validation"),
        (("downed-service", "--width", "10"), "the blog itself has 1"),
        (("downed-service", "--fleet", "blog", "--services", "40"), "the blog itself has 4"),
        (("poison-event",), "fault of data"),
        (("dropped-events",), "has the bus course"),
        (("downed-service", "--from", "nowhere"), "There is no saved run"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    done = invoke_lab("simulate", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.simulation.fleet.find_spec", lambda name: None)
    done = invoke_lab("simulate", "downed-service", cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'sync-async-lab[simulate]'" in " ".join(done.stderr.split())
    with pytest.raises(ExtraMissing):
        lab.simulate("downed-service")


def test_another_process_loads_what_the_first_one_compiled() -> None:
    code = (
        "from lab.simulation.fleet import engine, model, parameters, world\n"
        "from lab.scenarios.catalogue import find\n"
        "assert world.is_compiled()\n"
        "model.simulate(find('slow-service').quick(), parameters.shipped_parameters())\n"
        "stats = engine.run_world.stats\n"
        "print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]


def test_a_compilation_is_announced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("simulate", "calm", "--quick", "--only", "async-bus")
    assert "compiled first" not in invoke_lab(*words, cwd=tmp_path).stderr
    monkeypatch.setattr("lab.simulation.fleet.world.is_compiled", lambda: False)
    assert "The engine is compiled first" in invoke_lab(*words, cwd=tmp_path).stderr
    assert "compiled first" not in invoke_lab(*words, "--quiet", cwd=tmp_path).stderr


def test_without_a_folder_to_write_the_engine_is_still_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_folder(function: Any = None, cache: bool = False) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(world.NUMBA, "njit", lambda *given, **how: no_folder(*given, **how))
    assert world.compiled(max) is max


def test_a_run_without_spans_is_no_source_of_times(tmp_path: Path) -> None:
    words = ("simulate", "downed-service", "--from", f"{run_folder(tmp_path / 'run', {})}")
    done = invoke_lab(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "expected spans of the lab's services" in " ".join(done.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_python_gets_a_result_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = lab.simulate("downed-service", services=40, quick=True, only="sync-chain", broken=5)
    assert one["sync-chain"]["during"]["read_feed"].success == pytest.approx(0.5, abs=0.15)
    sizes = lab.simulate("downed-service", sweep="width=1,2", services=8, quick=True)
    assert [result.simulation.width for result in sizes] == [1, 2]
    assert "What it costs" in str(sizes)
    assert "<svg" in sizes._repr_mimebundle_()["text/html"]
    assert sizes.page.name == "sweep.html"
    assert sizes.page.is_file()
