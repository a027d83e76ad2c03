"""The sync-versus-async lab: one small blog, built twice, loaded, broken and measured.

`docs/architecture.md` describes the packages. From Python: `lab.run("slow-service")`,
`lab.up("both")`, `lab.predict(...)`, `lab.scenarios()`, `lab.report(...)`. Modules are imported on
first use, so `import lab` takes a few milliseconds.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.api.blogs import up
    from lab.api.result import Result
    from lab.api.run import arun, predict, report, run, scenarios

__all__ = ["Result", "arun", "predict", "report", "run", "scenarios", "up"]

_LIVES_IN = {
    "Result": "result",
    "arun": "run",
    "predict": "run",
    "report": "run",
    "run": "run",
    "scenarios": "run",
    "up": "blogs",
}


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
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Lab
