"""Schemathesis sends each service whatever its OpenAPI document allows, and what it forbids.

No response may be a 5xx, and each one must be as the document says. Schemathesis has a separate
environment, `.venv/fuzzer`, because none of its thirty packages should be able to change the tests.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from tests.support.laboratory import Laboratory, RunningBlog

COMMAND = shutil.which("st", path=f"{sys.prefix}/fuzzer/bin") or shutil.which("st")
FEW, MANY = 3, 500  # examples for each operation
ENOUGH = 50_000
RANDOMLY = ("--seed", "1", "--generation-database", "none", "--request-timeout", "60")
SLOW_IS_NO_FAILURE = ("--suppress-health-check", "all")  # the machine may be busy

needs_schemathesis = pytest.mark.skipif(
    COMMAND is None, reason="Schemathesis is not installed: `make test-all` installs it."
)


@dataclass(frozen=True)
class Fuzzing:
    """The requests that one service got; `failures` has a sentence for each finding."""

    cases: int
    failures: list[Any]


def fuzz(blog: RunningBlog, service: str, examples: int, folder: Path, *options: str) -> Fuzzing:
    assert COMMAND is not None
    folder.mkdir()
    # Without the id of a post that exists, no comment would ever be accepted.
    (folder / "known.toml").write_text(f'[parameters]\npost_id = "{blog.write_post()["id"]}"\n')
    report = folder / "report.json"
    command = [COMMAND, *options, "run", f"{blog.stack.urls[service]}/openapi.json"]
    command += [*RANDOMLY, *SLOW_IS_NO_FAILURE, "--continue-on-failure"]
    command += ["--max-examples", str(examples)]
    command += ["--report", "json", "--report-json-path", str(report)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["complete"], done.stdout
    assert found["exit_code"] == 0 or found["failures"] or found["errors"], done.stdout
    return Fuzzing(found["test_cases"]["generated"], [*found["failures"], *found["errors"]])


@needs_schemathesis
@pytest.mark.slow
@pytest.mark.parametrize("arrangement", ["sync-chain", "async-bus"])
def test_no_request_gets_an_answer_outside_the_document(
    arrangement: str, laboratory: Laboratory, tmp_path: Path
) -> None:
    with laboratory.blog(arrangement, f"fuzzed-{arrangement}") as blog:
        for service in blog.stack.arrangement.services:
            found = fuzz(blog, service, FEW, tmp_path / service, "--config-file", "known.toml")
            assert found.cases > FEW
            assert found.failures == []


@needs_schemathesis
@pytest.mark.soak
def test_fifty_thousand_requests_get_answers_as_in_the_document(
    laboratory: Laboratory, tmp_path: Path
) -> None:
    cases: dict[str, int] = {}
    failures: list[Any] = []
    for arrangement in ARRANGEMENTS:
        with laboratory.blog(arrangement, f"fuzzed-at-length-{arrangement}") as blog:
            for service in blog.stack.arrangement.services:
                place = f"{arrangement}-{service}"
                for known in ((), ("--config-file", "known.toml")):
                    folder = tmp_path / f"{place}-{len(known)}"
                    found = fuzz(blog, service, MANY, folder, *known)
                    cases[folder.name] = found.cases
                    failures += found.failures
    assert failures == [], cases
    assert sum(cases.values()) >= ENOUGH, cases
