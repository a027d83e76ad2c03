"""The sync-versus-async lab: one small blog, built twice, loaded, broken and measured.

`docs/architecture.md` describes the packages. From Python: `lab.run("slow-service")`,
`lab.up("both")`, `lab.simulate("downed-service", services=1000)`,
`lab.search("lost", "outbox=off")`, `lab.predict(...)`, `lab.scenarios()`, `lab.report()`,
`lab.trace("comment")` and the other names of the commands.
Modules are imported on first use, so `import lab` takes a few milliseconds.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.api.blogs import up
    from lab.api.result import Result
    from lab.api.run import arun, predict, report, run, scenarios
    from lab.api.search import search
    from lab.api.simulate import simulate
    from lab.api.views import claims, compare, design, diff, runs, show, trace

_LIVES_IN = {
    "Result": "result",
    "arun": "run",
    "claims": "views",
    "compare": "views",
    "design": "views",
    "diff": "views",
    "predict": "run",
    "report": "run",
    "run": "run",
    "runs": "views",
    "scenarios": "run",
    "search": "search",
    "show": "views",
    "simulate": "simulate",
    "trace": "views",
    "up": "blogs",
}

__all__ = [
    "Result",
    "arun",
    "claims",
    "compare",
    "design",
    "diff",
    "predict",
    "report",
    "run",
    "runs",
    "scenarios",
    "search",
    "show",
    "simulate",
    "trace",
    "up",
]


def _named(name: str) -> Any:
    from importlib import import_module

    return getattr(import_module(f"lab.api.{_LIVES_IN[name]}"), name)


class _Room(ModuleType):
    """A package whose name is also a function: `lab.scenarios()` and `lab.scenarios.catalogue`."""

    def __call__(self, *words: Any, **options: Any) -> Any:
        return _named(self.__name__.rpartition(".")[2])(*words, **options)


class _Lab(ModuleType):
    """This package. The names of the API are imported on first access."""

    def __getattr__(self, name: str) -> Any:
        if name in _LIVES_IN:
            return _named(name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _LIVES_IN and isinstance(value, ModuleType):
            value.__class__ = _Room  # the imported subpackage stays callable
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        """The names of the API, and what every module has; not what this file imports."""
        return sorted({*(name for name in super().__dir__() if name.startswith("__")), *__all__})


sys.modules[__name__].__class__ = _Lab
