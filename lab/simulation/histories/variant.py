"""The variants that can be searched: an arrangement, and switches that differ from its defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.support.text import did_you_mean


@dataclass(frozen=True)
class Variant:
    """A variant. `delivery`: how the course's bus delivers."""

    arrangement: str = "async-bus"
    outbox: bool = True
    dedupe: bool = True
    dead_letter: bool = False
    idempotency: bool = False
    fallback: bool = False
    bus: str = "log"
    delivery: str = "fire-and-forget"
    retries: int = 0

    @property
    def is_chain(self) -> bool:
        return self.arrangement == "sync-chain"

    @property
    def options(self) -> dict[str, Any]:
        """The options that differ from the defaults, as a scenario file has them."""
        default = Variant(self.arrangement)
        return {
            name.replace("_", "-"): ("off", "on")[value] if isinstance(value, bool) else value
            for name, value in vars(self).items()
            if value != getattr(default, name)
        }

    def __str__(self) -> str:
        return " ".join((self.arrangement, *(f"{n}={v}" for n, v in self.options.items())))


ARRANGEMENTS = ("async-bus", "sync-chain")
_VALUES: Mapping[str, Mapping[str, Any]] = {
    **{
        switch: {"on": True, "off": False}
        for switch in ("outbox", "dedupe", "dead-letter", "idempotency", "fallback")
    },
    "bus": {"log": "log", "course": "course"},
    "delivery": {"fire-and-forget": "fire-and-forget", "one-by-one": "one-by-one"},
    "retries": {"0": 0, "1": 1, "2": 2},
}
_OF_CHAIN = ("idempotency", "fallback", "retries")


def parse_variant(words: list[str]) -> Variant:
    """The variant that these words describe: `sync-chain`, `outbox=off`. Raises ValueError."""
    arrangement, options = "async-bus", {}
    for word in (part for text in words for part in text.split()):
        name, sign, value = word.partition("=")
        if not sign:
            if word not in ARRANGEMENTS:
                raise ValueError(
                    f"{word!r} is no arrangement that can be searched. "
                    f"Expected {' or '.join(ARRANGEMENTS)}, or an option such as outbox=off. "
                    f"{did_you_mean(word, ARRANGEMENTS)}"
                )
            arrangement = word
            continue
        values = _VALUES.get(name)
        if values is None:
            raise ValueError(
                f"{name!r} is no option of a search. Expected one of {', '.join(_VALUES)}. "
                f"{did_you_mean(name, _VALUES)}"
            )
        if value not in values:
            raise ValueError(f"{name} is {' or '.join(values)}, not {value!r}.")
        options[name.replace("-", "_")] = values[value]
    if arrangement == "sync-chain" and (wrong := [o for o in options if o not in _OF_CHAIN]):
        raise ValueError(
            f"sync-chain has no {wrong[0].replace('_', '-')}: it has no bus. "
            f"Its options are {' and '.join(_OF_CHAIN)}."
        )
    return Variant(arrangement, **options)
