"""What was probably meant by a word that nobody knows."""

import difflib
from collections.abc import Iterable


def did_you_mean(seen: str, known: Iterable[str]) -> str:
    """A sentence: the nearest known name, or all of them."""
    names = list(known)
    near = [name for name in names if len(seen) > 2 and name.startswith(seen)]
    near = near or difflib.get_close_matches(seen, names, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names)}."
