"""The sync-versus-async lab, and a map of its rooms in the order in which they are best read.

    domain/       what a post and a comment are, what can happen to them, what can go wrong
    sync_chain/   the blog as services that ask each other …
    async_bus/    … and as services that tell each other: the same files, to be read in pairs
    service.py    what a service file declares        web.py    where HTTP becomes function calls
    shell.py      the process around it               store.py  its database: one transaction
    doorstep.py   let in, or turned away by a fault
    bottleneck.py a capacity that is known: one at a time, so long each
    deadline.py   how long the asker still waits      degraded.py an answer that is less than whole
    tally.py      what became of questions     idempotency.py  the same request twice, done once
    bus/          the event bus, behind a short contract
    faults/       the ways to break a service, and the door at which most of them act
    load/         the open-loop load: schedule, client, raw samples, exact percentiles
    cluster/      starting, killing, suspending and ending processes, with nothing left over
    foreign/      services of somebody else: started, spoken to, and broken like the lab's own
    scenarios/    the experiments (TOML), the runner, the checker, the verdicts
    card/         what they hold to and what not: a report card
    byhand/       a blog that is up, to be broken from another terminal
    live/         both architectures on one page, to be broken before an audience
    exercises/    small broken pieces, and a check that tries them in a running stack
    report/       tables for people                   openapi.py  documents made from the code
    api/          all of it from Python and in notebooks: lab.run, lab.up, lab.predict, ...
    looking.py    the commands that show           running.py  the command that runs
    predicting.py what it asks before it runs          bringing.py the commands about one's own
    reading.py    a TOML file becomes a model, or sentences
    tracing.py    one request, followed through every process
    terminal.py   how a command speaks and ends       doctor.py   what is in the way here

Nothing here is imported before it is needed: `import lab` costs next to nothing.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.api.result import Result
    from lab.api.running import arun, predict, report, run, scenarios
    from lab.api.standing import up

__all__ = ["Result", "arun", "predict", "report", "run", "scenarios", "up"]

_LIVES_IN = {
    "Result": "result",
    "arun": "running",
    "predict": "running",
    "report": "running",
    "run": "running",
    "scenarios": "running",
    "up": "standing",
}


def _named(name: str) -> Any:
    from importlib import import_module

    return getattr(import_module(f"lab.api.{_LIVES_IN[name]}"), name)


class _Room(ModuleType):
    """A room whose name is also a command: `lab.scenarios()` beside `lab.scenarios.catalogue`."""

    def __call__(self, *words: Any, **options: Any) -> Any:
        return _named(self.__name__.rpartition(".")[2])(*words, **options)


class _Lab(ModuleType):
    """This package. Names of the API are fetched when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        if name in _LIVES_IN:
            return _named(name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _LIVES_IN and isinstance(value, ModuleType):
            value.__class__ = _Room  # A room has been opened; its door stays a command.
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Lab
