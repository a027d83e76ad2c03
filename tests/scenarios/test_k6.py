"""The script for k6: the rate, mix and phases of the scenario. Node.js plays k6."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.scenarios import catalogue
from lab.scenarios.k6 import NotForK6, build_plan, to_k6
from lab.scenarios.scenario import Scenario
from tests.support.command_line import invoke_lab
from tests.support.documents import parse_command
from tests.support.small import ROOT

NODE = shutil.which("node")
K6 = """
// k6, as far as the script uses it: what it would send is written down.
const sent = [];
const checks = [];
globalThis.__ENV = JSON.parse(process.env.K6_ENV);
globalThis.k6 = {
  http: {
    post(url, body) { sent.push(["POST", url]); return this.answer(201); },
    request(method, url, body, params) {
      sent.push([method, url, body, params]); return this.answer(method === "GET" ? 200 : 201);
    },
    answer(status) { return { status, json: () => `id-${sent.length}` }; },
  },
  check(response, named, tags) {
    checks.push([Object.values(named)[0](response), tags.action, tags.phase]);
  },
  sleep() {},
  exec: { scenario: { name: "stretch_0", startTime: 0 } },
};
const script = await import(process.argv[2]);
const data = script.setup();
for (let number = 0; number < 2000; number += 1) {
  k6.exec.scenario.startTime = Date.now() - 10 * number; // 10 ms later each time
  script.arrive(data);
}
console.log(JSON.stringify({ options: script.options, data, sent, checks }));
"""


def scenarios() -> list[Scenario]:
    return list(catalogue.builtin_scenarios())


def played(script: str, folder: Path, **env: str) -> Any:
    """What the script did when Node.js played k6."""
    script = re.sub(r'^import (.+) from "k6/http";$', r"const \1 = k6.http;", script, flags=re.M)
    script = re.sub(r'^import (\{.+\}) from "k6";$', r"const \1 = k6;", script, flags=re.M)
    script = re.sub(
        r'^import exec from "k6/execution";$', r"const exec = k6.exec;", script, flags=re.M
    )
    (folder / "script.mjs").write_text(script)
    (folder / "k6.mjs").write_text(K6)
    done = subprocess.run(
        [str(NODE), folder / "k6.mjs", folder / "script.mjs"],
        env={"K6_ENV": json.dumps(env), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_a_plan_has_the_phases_of_its_scenario(scenario: Scenario) -> None:
    try:
        plan = build_plan(scenario)
    except NotForK6:
        arrangements = {one.arrangement or name for name, one in scenario.variants.items()}
        loops = {bool(one.closed_loop_users) for one in scenario.variants.values()}
        assert loops == {True} or not arrangements & {"sync-chain", "async-bus"}
        return
    warm_up, *phases = plan["phases"]
    assert warm_up["from_s"] == 0
    assert sum(phase["seconds"] for phase in phases) == pytest.approx(scenario.timeline().seconds)
    ends = [phase["from_s"] + phase["seconds"] for phase in plan["phases"]]
    assert [phase["from_s"] for phase in phases] == pytest.approx(ends[:-1])
    assert {phase["name"] for phase in phases} >= set(scenario.reported_phases())


@pytest.mark.parametrize("quick", [False, True], ids=["full", "quick"])
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_no_stretch_is_shorter_than_k6_allows(scenario: Scenario, quick: bool) -> None:
    try:
        plan = build_plan(scenario.quick() if quick else scenario)
    except NotForK6:
        return
    ends = [one["from_s"] + one["seconds"] for one in plan["stretches"]]
    assert [one["from_s"] for one in plan["stretches"]] == pytest.approx([0, *ends[:-1]])
    assert min(one["seconds"] for one in plan["stretches"]) >= 1
    requests = sum(one["seconds"] * one["rate"] for one in plan["stretches"])
    assert requests == pytest.approx(sum(one["seconds"] * one["rate"] for one in plan["phases"]))


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_each_command_for_a_fault_is_one_that_the_lab_knows(scenario: Scenario) -> None:
    try:
        script = to_k6(scenario)
    except NotForK6:
        return
    commands = re.findall(
        r"^// +\(sleep [\d.]+; lab (.+); sleep [\d.]+; lab (.+)\) &$", script, re.M
    )
    assert len(commands) == len(scenario.timeline().faults)
    for break_it, heal_it in commands:
        parse_command(shlex.split(break_it))
        parse_command(shlex.split(heal_it))


def test_a_surge_that_is_too_short_is_refused() -> None:
    scenario = catalogue.find("slow-consumer")
    assert build_plan(scenario)["stretches"][1]["seconds"] >= 1
    with pytest.raises(NotForK6, match=r"another rate for 0\.5 s, and k6 takes no load"):
        build_plan(scenario.quick())


def test_the_header_says_what_k6_counts_differently() -> None:
    script = to_k6(catalogue.find("slow-service"))
    assert "// - k6 measures a latency from the moment of sending." in script
    fault = "(sleep 5.5; lab fault latency comments --ms 300 --per-event; sleep 5; "
    assert f"{fault}lab heal comments --kind latency) &" in script


def test_a_scenario_without_an_open_loop_is_refused() -> None:
    scenario = catalogue.find("slow-service")
    closed = {
        name: variant.model_copy(update={"loop": "closed", "users": 3})
        for name, variant in scenario.variants.items()
    }
    with pytest.raises(NotForK6, match="no variant that k6 can load"):
        build_plan(scenario.model_copy(update={"variants": closed}))


@pytest.mark.skipif(not NODE, reason="Node.js is not installed")
def test_the_script_sends_the_mix_at_the_rate(tmp_path: Path) -> None:
    did = played(to_k6(catalogue.find("slow-service")), tmp_path)
    (stretch,) = did["options"]["scenarios"].values()
    assert stretch["executor"] == "constant-arrival-rate"
    assert stretch["rate"] / 1000 == 20
    assert (stretch["timeUnit"], stretch["startTime"], stretch["duration"]) == (
        *("1000s", "0ms", "12500ms"),
    )
    assert stretch["maxVUs"] >= 20 * 2, "a request may take its whole time limit"
    assert "http_req_duration{phase:during,action:read_feed}" in did["options"]["thresholds"]
    seeds, arrivals = did["sent"][:20], did["sent"][20:]
    assert {url for _, url in seeds} == {"http://127.0.0.1:4100/posts"}
    feeds = [one for one in arrivals if one[1] == "http://127.0.0.1:4102/feed?limit=20"]
    assert 0.5 < len(feeds) / len(arrivals) < 0.7  # 0.6, by more than nine standard deviations
    commented = {one[1].split("/")[4] for one in arrivals if one[1].endswith("/comments")}
    assert commented <= set(did["data"]["posts"])
    assert all(right for right, _, _ in did["checks"])
    assert {one[1] for one in did["checks"]} == {"read_feed", "create_post", "create_comment"}
    phases = [one[2] for one in did["checks"]]
    assert list(dict.fromkeys(phases)) == ["warm_up", "before", "during", "after"]
    assert 450 < phases.count("during") < 550  # five seconds, a request each 10 ms


@pytest.mark.skipif(not NODE, reason="Node.js is not installed")
def test_the_blog_may_be_somewhere_else(tmp_path: Path) -> None:
    env = {"VARIANT": "async-bus", "QUERY": "http://blog.example:80"}
    did = played(to_k6(catalogue.find("slow-service")), tmp_path, **env)
    hosts = {"/".join(one[1].split("/")[:3]) for one in did["sent"]}
    assert hosts == {"http://blog.example:80", "http://127.0.0.1:4000", "http://127.0.0.1:4001"}


def test_the_command_writes_a_script(tmp_path: Path) -> None:
    said = invoke_lab("export", "slow-service", "--k6", "-o", "a.js", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    quick = invoke_lab("export", "slow-service", "--k6", "--quick", cwd=tmp_path)
    assert '"seconds": 2.5' in quick.stdout
    assert '"seconds": 5.0' in (tmp_path / "a.js").read_text()
    assert invoke_lab("export", "slow-service", cwd=tmp_path).returncode == 2


def test_the_script_is_in_the_package() -> None:
    assert (ROOT / "lab" / "scenarios" / "k6.js").read_text().startswith("import http")
