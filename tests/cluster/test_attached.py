"""`lab run --at`: the programs of a manifest, started by something that is not the lab."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

import lab
from lab.cluster import attached
from lab.cluster.arrangements import ARRANGEMENTS, build_programs
from lab.cluster.attached import AttachedStack, read_attachments
from lab.cluster.errors import LabCannotRun
from lab.cluster.health import probe_health
from lab.cluster.injector import Injection, fault_active
from lab.cluster.manifest import MANIFESTS
from lab.cluster.ports import reserve
from lab.domain.services import by_hand_port
from lab.experiment import trial
from lab.experiment.runner import Run
from lab.results.paths import lookup
from lab.scenarios import catalogue
from lab.scenarios.attached import with_attached
from lab.scenarios.scenario import Scenario
from tests.experiment.test_runner import ProbedInjection
from tests.programs.unhurried import be_unhurried
from tests.support.command_line import UNHURRIED, invoke_lab, unhurried_lab
from tests.support.laboratory import eventually
from tests.support.patience import PATIENCE_S
from tests.support.small import ROOT, join_lines, scenario_file

TOKEN = "the-token"
ENGINE = '''
"""An engine: `engine.py kill|start|suspend|resume SERVICE`."""
import json, os, pathlib, signal, subprocess, sys, time
do, service = sys.argv[1:]
folder = pathlib.Path(__file__).parent
(folder / "commands").open("a").write(f"{do} {service}\\n")
pid = folder / f"{service}.pid"
signals = {"kill": signal.SIGKILL, "suspend": signal.SIGSTOP, "resume": signal.SIGCONT}
if do == "start":
    words = json.loads((folder / "programs.json").read_text())[service]
    log = (folder / f"{service}.log").open("ab")
    started = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    pid.write_text(str(started.pid))
else:
    os.kill(int(pid.read_text()), signals[do])
'''


DOES = ("suspend", "resume", "kill", "start")


def is_ready(port: int) -> bool:
    return asyncio.run(probe_health(f"http://127.0.0.1:{port}/health")).status == 200


class Engine:
    """Programs of one arrangement, started, killed and suspended by commands of `engine.py`."""

    def __init__(self, folder: Path, arrangement: str) -> None:
        self.folder, self.arrangement = folder, arrangement
        self.script, self.file = folder / "engine.py", folder / "blog.toml"
        self.script.write_text(ENGINE)
        self.ports: dict[str, int] = {}
        self._reserved = ExitStack()

    def __enter__(self) -> "Engine":
        built = ARRANGEMENTS[self.arrangement]
        with ExitStack() as reserved:
            self.ports = {name: reserved.enter_context(reserve()).port for name in built.processes}
        programs = build_programs("x", built, {}, self.ports, self.folder, TOKEN)
        words = {
            program.name.rpartition(".")[2]: [sys.executable, "-m", program.module, *program.argv]
            for program in programs
        }
        (self.folder / "programs.json").write_text(json.dumps(words))
        for name in words:
            self.do("start", name)
        for port in self.ports.values():
            eventually(lambda port=port: is_ready(port))
        self.file.write_text(f'arrangement = "{self.arrangement}"\n{self.table()}')
        return self

    def table(self, prefix: str = "") -> str:
        """The commands and services, as lines of a file."""
        command = [sys.executable, str(self.script)]
        lines = [f"{do} = {json.dumps([*command, do, '{service}'])}" for do in DOES]
        for name, port in self.ports.items():
            lines += [f"[{prefix}services.{name}]", f'url = "http://localhost:{port}"']
        return "\n".join(lines)

    def __exit__(self, *_: object) -> None:
        for file in self.folder.glob("*.pid"):
            try:
                psutil.Process(int(file.read_text())).kill()
            except psutil.NoSuchProcess:
                continue
        self._reserved.close()

    def do(self, do: str, service: str) -> None:
        command = [sys.executable, str(self.script), do, service]
        env = os.environ | {"LAB_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, env=env)

    def commands(self) -> list[str]:
        return (self.folder / "commands").read_text().splitlines()[len(self.ports) :]


@pytest.fixture(
    scope="module", params=["async-bus", pytest.param("sync-chain", marks=pytest.mark.slow)]
)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("engine"), request.param) as running:
        yield running


def test_faults_of_an_attached_blog_are_proved_by_probing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = (
        {"fault": "latency", "target": "comments", "ms": 60},
        {"fault": "hang", "target": "posts"},
        {"fault": "down", "target": "moderation"},
    )
    file = scenario_file(
        engine.folder,
        "broken",
        *faults,
        phases="before = 0.6, after = 0.6, each = 0.6, between = 0.4",
        timeout_ms=60_000,
    )
    monkeypatch.setenv("LAB_TOKEN", TOKEN)
    be_unhurried(monkeypatch.setattr)
    monkeypatch.setattr(trial, "Injection", ProbedInjection)
    own = Scenario.load_file(engine.folder / file)
    patient = own.load.model_copy(update={"settle_s": 60.0})
    own = own.model_copy(update={"load": patient})
    scenario = with_attached(own, read_attachments([engine.file]))
    for number in range(2):  # with one seed, and the writes of the first run are still there
        folder = engine.folder / f"run-{number}"
        folder.mkdir()
        result = asyncio.run(Run(scenario, folder)())
        assert result.problems == []
        (variant,) = result.variants
        latency, hang, down = variant.faults
        assert (variant.name, variant.attached) == (engine.arrangement, True)
        assert latency.acted
        assert latency.evidence["delayed_ms_min"] >= 59
        assert (hang.acted, hang.evidence["probe"]) == (True, "timeout")
        assert (down.acted, down.evidence["probe"]) == (True, "refused")
        assert down.evidence["back_after_seconds"] >= 0.5
        done = engine.commands()[-4:]
        by_service = [[one for one in done if name in one] for name in ("posts", "moderation")]
        assert by_service[0] == ["suspend posts", "resume posts"]
        assert by_service[1] == ["kill moderation", "start moderation"]
        # What only the machine of the services knows.
        assert (variant.footprint, variant.databases, variant.asks) == (None, None, None)
        assert lookup(f"{engine.arrangement}.web.edges", result) is None
        assert variant.data
        assert variant.data.acknowledged > 0
        assert variant.data.lost == variant.data.duplicated == variant.data.phantoms == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slow-service", "downed-service"])
def test_a_scenario_of_the_lab_runs_at_an_engine(engine: Engine, name: str) -> None:
    done = unhurried_lab(
        *("run", name, "--quick", "--json", "--at", str(engine.file)),
        cwd=engine.folder,
        LAB_TOKEN=TOKEN,
        PYTHONPATH=str(ROOT),
    )
    assert done.stdout, done.stderr
    (variant,) = json.loads(done.stdout)["variants"]
    assert [fault["acted"] for fault in variant["faults"]] == [True]
    assert variant["data"]["lost"] == 0


@pytest.mark.slow
def test_both_twins_of_one_file_run_under_a_load_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two engines; the load is a process that is reached by its stdin and stdout only."""
    monkeypatch.setenv("LAB_TOKEN", TOKEN)
    be_unhurried(monkeypatch.setattr)
    load = json.dumps([sys.executable, "-m", "lab.load.remote"])
    file, text = tmp_path / "both.toml", f"load = {load}\n"
    with ExitStack() as engines:
        for name in ("async-bus", "sync-chain"):
            folder = tmp_path / name
            folder.mkdir()
            engine = engines.enter_context(Engine(folder, name))
            text += f"[blogs.{name}]\n{engine.table(f'blogs.{name}.')}\n"
        file.write_text(text)
        result = lab.run("downed-service", quick=True, at=file, keep=tmp_path / "runs")
    assert [one.name for one in result.variants] == ["sync-chain", "async-bus"]
    for variant in result.variants:
        assert [fault.acted for fault in variant.faults] == [True]
        assert variant.data
        assert variant.data.lost == 0
        assert any("The load ran on another machine" in note for note in variant.notes)
    assert {one.that.partition(".")[0] for one in result.expectations} >= {
        "sync-chain",
        "async-bus",
    }


def test_a_kill_that_kills_nothing_is_not_proved(engine: Engine) -> None:
    async def injection() -> Injection:
        found = read_attachments([engine.file])[0].model_copy(
            update={"kill": ("true",), "start": ("true",)}
        )
        with AttachedStack("x", found, engine.folder) as stack:
            await stack.start()
            async with fault_active(stack, "down", "moderation") as one:
                return one

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_TOKEN", TOKEN)
        patch.setattr(attached, "GONE_WITHIN_S", 0.1)
        assert not asyncio.run(injection()).acted


def test_a_killed_service_is_down_until_its_engine_restarts_it(engine: Engine) -> None:
    async def injection() -> tuple[Injection, float]:
        found = read_attachments([engine.file])[0].model_copy(update={"start": ()})
        with AttachedStack("x", found, engine.folder) as stack:
            await stack.start()
            async with fault_active(stack, "down", "moderation") as one:
                await asyncio.to_thread(engine.do, "start", "moderation")
                await stack.supervisor._returns["moderation"]
                end_s = time.perf_counter()
            assert await stack.unexpected_restarts() == []
            await asyncio.to_thread(engine.do, "kill", "query")
            assert len(await stack.unexpected_restarts()) == 1
            await asyncio.to_thread(engine.do, "start", "query")
            await asyncio.to_thread(eventually, lambda: is_ready(engine.ports["query"]))
            return one, end_s

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_TOKEN", TOKEN)
        one, end_s = asyncio.run(injection())
    assert (one.acted, one.removed) == (True, True)
    assert one.on_s < one.off_s <= end_s


def test_a_fault_cancelled_while_it_begins_is_removed(tmp_path: Path) -> None:
    done: list[str] = []
    begun = asyncio.Event()

    class SlowInjection(Injection):
        async def begin(self, seed: int = 0) -> None:
            done.append("kill")
            begun.set()
            await asyncio.sleep(0.1)
            done.append("probe")

        async def end(self) -> None:
            done.append("start")

    async def cancel() -> None:
        load = trial.LoadPhase(None, tmp_path, 7, lambda line: None)  # type: ignore[arg-type]
        injection = SlowInjection(None, None, "x")  # type: ignore[arg-type]
        injecting = asyncio.create_task(load._inject(injection, 0, 0))
        await begun.wait()
        injecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await injecting

    asyncio.run(cancel())
    assert done == ["kill", "probe", "start"]


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("", "All faults are removed. The attached blog runs on, and keeps what was written."),
        ("false", "The attached blog runs on, and may still have a fault"),
    ],
)
def test_ctrl_c_says_that_the_attached_blog_runs_on(engine: Engine, start: str, says: str) -> None:
    fault = {"fault": "down", "target": "moderation"}
    phases = "before = 0.5, during = 600, after = 0.5"
    name = scenario_file(engine.folder, "stopped", fault, phases=phases)
    file = engine.file.with_name("stopped-blog.toml")
    text = engine.file.read_text()
    file.write_text(
        re.sub("^start = .*", f'start = ["{start}"]', text, flags=re.M) if start else text
    )
    command = [*UNHURRIED, "run", name, "--at", str(file)]
    port = engine.ports["moderation"]
    env = {**os.environ, "LAB_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=engine.folder, env=env, stderr=subprocess.PIPE, text=True
    ) as lab:
        try:
            eventually(lambda: lab.poll() is not None or not is_ready(port), "the fault")
            lab.send_signal(signal.SIGINT)
            assert says in join_lines(lab.communicate(timeout=PATIENCE_S)[1])
        finally:
            lab.kill()
    if start:
        engine.do("start", "moderation")
    eventually(lambda: is_ready(port))


# ── Files

SERVICES = "".join(
    f'[services.{name}]\nurl = "http://127.0.0.1:1"\n'
    for name in ("posts", "comments", "moderation", "query")
)
CHAIN = 'arrangement = "sync-chain"\ntoken = "t"\n'


@pytest.mark.parametrize(
    ("text", "scenario", "says"),
    [
        (CHAIN + SERVICES, "downed-service", "has no command to kill comments"),
        (CHAIN + 'suspend = ["a"]\n' + SERVICES, "hung-service", "no command to resume"),
        (CHAIN + SERVICES, "partition", "fault of the engine's network"),
        (CHAIN + SERVICES, "retry-storm", "with no switches"),
        (CHAIN + SERVICES, "new-service", "left to the engine"),
        (CHAIN + SERVICES.replace(":1", ""), "slow-service", "expected http://HOST:PORT"),
        (CHAIN + SERVICES.replace("127.0.0.1", "no.invalid"), "calm", "no.invalid has no IPv4"),
        (CHAIN + SERVICES.replace(".query", ".feed"), "calm", "no url for query"),
        (CHAIN.replace('"t"', '""') + SERVICES, "calm", "no token"),
        (CHAIN + SERVICES, "calm", "is not ready: nothing listens on port 1"),
        (CHAIN + SERVICES + "[blogs.async-bus]", "calm", "saw [blogs.…] and services beside"),
        ('token = "t"\n[blogs.mine]', "calm", "blogs: a name is no arrangement"),
        ('token = "t"\n' + SERVICES, "calm", "arrangement is missing"),
    ],
)
def test_a_wrong_attachment_says_what_to_try(
    text: str, scenario: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "blog.toml").write_text(text)
    done = invoke_lab("run", scenario, "--at", "blog.toml", cwd=tmp_path, LAB_TOKEN="")
    assert done.returncode in (2, 3)
    assert says in join_lines(done.stderr)


def test_a_file_may_describe_both_twins(tmp_path: Path) -> None:
    file = tmp_path / "both.toml"
    table, bus = SERVICES.replace("[", "[blogs.{0}."), "[blogs.async-bus.services.event-bus]\n"
    file.write_text(
        'token = "t"\nkill = ["engine", "-n", "{arrangement}", "{service}"]\nload = ["ssh", "a"]\n'
        + '[blogs.sync-chain]\nkill = ["other"]\noptions = { retries = 3 }\n'
        + f"{table.format('sync-chain')}{table.format('async-bus')}"
        + f'{bus}url = "http://localhost:2"\nload_url = "http://bus.cluster:2"\n'
    )
    chain, events = read_attachments([file])
    assert (chain.command("kill", "posts"), chain.options) == (["other"], {"retries": 3})
    assert events.command("kill", "posts") == ["engine", "-n", "async-bus", "posts"]
    assert events.services["event-bus"].url == "http://127.0.0.1:2"
    assert events.services["event-bus"].load_url == "http://bus.cluster:2"
    assert {(one.token, one.load) for one in (chain, events)} == {("t", ("ssh", "a"))}

    def variants(name: str) -> list[str]:
        return list(with_attached(catalogue.find(name), [chain, events]).variants)

    assert variants("downed-bus") == ["async-bus"], "the scenario has no chain"
    with pytest.raises(ValueError, match="sync-chain with retries = 3"):
        variants("slow-service")
    chain = chain.model_copy(update={"options": {}})
    assert variants("slow-service") == ["sync-chain", "async-bus"]


def test_attaching_from_python_refuses_what_the_command_refuses(tmp_path: Path) -> None:
    file = tmp_path / "blog.toml"
    file.write_text(CHAIN + SERVICES)
    with pytest.raises(ValueError, match="leave out with_, replace and bus"):
        lab.run("calm", at=file, bus="nats")
    with pytest.raises(ValueError, match="can't be read"):
        lab.run("calm", at=[file, tmp_path / "other.toml"])
    with pytest.raises(LabCannotRun, match="nothing listens on port 1"):
        lab.run("calm", at=file, keep=tmp_path)


@pytest.mark.parametrize("arrangement", MANIFESTS)
def test_a_printed_compose_file_can_be_attached(
    arrangement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_TOKEN", TOKEN)
    file = tmp_path / "compose.yaml"
    file.write_text(invoke_lab("manifest", arrangement, "--compose", cwd=tmp_path).stdout)
    (found,) = read_attachments([file])
    port = by_hand_port(arrangement, "comments")
    assert found.services["comments"].url == f"http://127.0.0.1:{port}"
    compose = ["docker", "compose", "--file", str(file)]
    assert found.command("suspend", "comments") == [*compose, "pause", "comments"]
    assert (found.arrangement, found.token) == (arrangement, TOKEN)
