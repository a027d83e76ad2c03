"""What only some people need: asked for when it is needed, and missed in one clear sentence."""

from importlib import import_module
from typing import Any


class MissingExtra(ImportError):
    """A library that the lab runs without is needed for this, and not installed."""


def pandas(for_what: str) -> Any:
    """The module. Raises MissingExtra."""
    return _extra("pandas", for_what)


def _extra(name: str, for_what: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtra(
            f"{for_what} needs {name}, which is not installed here. Try: pip install {name}"
        ) from None
