"""What came of events that somebody could not digest: who stands behind which, and what was laid
aside."""

from collections.abc import Iterator

from lab.scenarios.result import Variant


def halted(variant: Variant) -> Iterator[str]:
    """A line for each service that is stuck, and one for all that laid something aside."""
    for service, at in (variant.stuck or {}).items():
        yield f"{service} is stuck, and says so at /health: {at}."
    if variant.dead_letters:
        counts = ", ".join(f"{number} by {name}" for name, number in variant.dead_letters.items())
        yield f"events laid aside as dead letters: {counts}."
