"""The JSON Schema of a scenario file, made from the models: for completion and checks in editors.

It has every key, every allowed word and every limit. It cannot express some checks of
`lab validate`: whether a path leads to a figure, and whether a fault can act on a target.
"""

from collections.abc import Sequence
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.fault_rules import known_targets
from lab.faults.kinds import KINDS, WholeFault
from lab.results.claims import CLAIMS
from lab.scenarios.scenario import Scenario
from lab.scenarios.switches import BY_SERVICE, OR_FOR_ALL, SWITCHES, Allowed

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of scenario files."""
    made = Scenario.model_json_schema()
    parts, whole = made["$defs"], made["properties"]
    del whole["name"]  # the name of the file gives it
    made["required"].remove("name")
    whole["claims"]["items"] = {"enum": list(CLAIMS)}
    whole["explain"] = _or_table(whole["explain"], "text")
    whole["steady_state"] = _or_table(whole["steady_state"], "that")
    _open(parts["Method"], _fault_options(), fault=list(KINDS), target=list(known_targets()))
    switches = _switches()
    switches["bus"]["anyOf"] = [{"enum": switches["bus"].pop("enum")}, {"pattern": "^nats://"}]
    _open(parts["VariantSpec"], switches, arrangement=list(ARRANGEMENTS))
    return {"$schema": DRAFT, **made, "title": "A scenario of the sync-versus-async lab"}


def _open(part: dict[str, Any], more: dict[str, Any], **words: list[str]) -> None:
    """Replace `options` with the keys that the model gathers in it; limit texts to known words."""
    del part["properties"]["options"]
    for key, allowed in words.items():
        part["properties"][key]["enum"] = allowed
        part["properties"][key].pop("default", None)
    part["properties"] |= more


def _or_table(bare: dict[str, Any], key: str) -> dict[str, Any]:
    table = {"type": "object", "properties": {key: bare}, "additionalProperties": False}
    return {"anyOf": [bare, table]}


def _fault_options() -> dict[str, Any]:
    """Every option of every fault; the description names the kinds that have it."""
    options: dict[str, Any] = {}
    for kind, fault in KINDS.items():
        properties = fault.model_json_schema(by_alias=True)["properties"]
        for name, of in properties.items():
            whole = issubclass(fault, WholeFault) and name in ("probability", "first")
            if name != "target" and not whole:
                takers = options.setdefault(name, {**of, "takers": []})["takers"]
                takers.append(kind)
    for of in options.values():
        of["description"] = f"of {', '.join(of.pop('takers'))}"
        of.pop("default", None)
    return options


def _switches() -> dict[str, Any]:
    takers: dict[str, list[str]] = {}
    allowed: dict[str, Allowed] = {}
    for arrangement, switches in SWITCHES.items():
        for name, values in switches.items():
            takers.setdefault(name, []).append(arrangement)
            allowed[name] = values if name not in allowed else _wider(allowed[name], values)
    return {
        name: {
            **_as_schema(values, BY_SERVICE.get(name, ()), name in OR_FOR_ALL),
            "description": f"of {', '.join(takers[name])}",
        }
        for name, values in allowed.items()
    }


def _wider(one: Allowed, other: Allowed) -> Allowed:
    """The values that either of the two allows; both must be of one type."""
    if isinstance(one[0], str):
        return tuple(dict.fromkeys((*one, *other)))
    return (min(one[0], other[0]), max(one[1], other[1]))  # type: ignore[return-value]


def _as_schema(
    values: Allowed, services: Sequence[str] = (), or_for_all: bool = False
) -> dict[str, Any]:
    first, last = values[0], values[-1]
    if services:
        each = dict.fromkeys(services, _as_schema(values))
        table = {"type": "object", "properties": each, "additionalProperties": False}
        return {"anyOf": [_as_schema(values), table]} if or_for_all else table
    if isinstance(first, bool):
        return {"type": "boolean"}
    if isinstance(first, str):
        return {"enum": list(values)}
    return {
        "type": "integer" if isinstance(first, int) else ["number", "boolean"],
        "minimum": first,
        "maximum": last,
    }
