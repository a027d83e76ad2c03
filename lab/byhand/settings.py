"""`lab up --set dead_letter=true`: the switches of a variant, written on a command line."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from lab.meant import did_you_mean
from lab.scenarios.spec import VariantSpec
from lab.scenarios.switches import SWITCHES, variant_problems


def settings_by_stack(words: Sequence[str], stacks: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """The options of each stack, from `name=value` words; a stack gets those that it has.

    Raises ValueError, in a sentence, for one that no stack has or that can't be meant.
    """
    given = dict(map(_setting, words))
    known = dict.fromkeys(name for stack in stacks for name in SWITCHES.get(stack, {}))
    for name in given:
        if name not in known:
            raise ValueError(f"There is no switch {name!r} here. {did_you_mean(name, known)}")
    chosen = {}
    for stack in stacks:
        options = {name: value for name, value in given.items() if name in SWITCHES.get(stack, {})}
        spec = VariantSpec(arrangement=stack, options=options)
        if problems := list(variant_problems(stack, stack, spec)):
            raise ValueError("\n".join(problems))
        chosen[stack] = options
    return chosen


def _setting(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"--set {word!r}: expected NAME=VALUE, as dead_letter=true.")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value  # A bare word, as bus=nats.
