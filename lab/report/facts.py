"""What a scenario is, before anything of it has run: label and line, for the terminal and for
documents alike."""

from collections.abc import Iterator

from lab.faults.kinds import Fault
from lab.scenarios.scenario import Scenario


def facts(one: Scenario) -> Iterator[tuple[str, str]]:
    """Its variants, its load, and its phases with what is done in them."""
    yield "variants", ", ".join(one.variants)
    of_all = sum(one.load.mix.values())
    mix = ", ".join(f"{100 * part / of_all:.0f} % {name}" for name, part in one.load.mix.items())
    yield "load", f"{one.load.rate:g} a second for each variant: {mix}"
    if one.load.during_rate:
        yield "surge", f"{one.load.during_rate:g} a second in during"
    if one.history:
        told = f"{one.history.events} posts of a system that is gone, told before it begins"
        yield "history", told
    for newcomer in one.newcomer:
        yield (
            "newcomer",
            f"one more {newcomer.service}, with nothing, {newcomer.at:g} s into during",
        )
    for phase in one.timeline():
        what = [
            f"{window.fault.target}: {window.fault.kind}{_settings(window.fault)},"
            f" {window.fault.says}"
            for window in phase.faults
        ]
        yield phase.name, f"{phase.seconds:g} s" + (f"   {'; '.join(what)}" if what else "")


def length_s(one: Scenario) -> float:
    """How long it is under load, in seconds."""
    return sum(phase.seconds for phase in one.timeline())


def _settings(fault: Fault) -> str:
    told = ", ".join(f"{name} {value}" for name, value in fault.settings().items())
    return f" ({told})" if told else ""
