"""The JSON Schema of a scenario file, made from the models: for completion and checks in editors.

It has every key, every allowed word and every limit. It cannot express some checks of
`lab validate`: whether a path leads to a figure, and whether a fault can act on a target.
"""

from collections.abc import Sequence
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.fault_rules import known_targets
from lab.faults.kinds import KINDS, describe_options
from lab.results.claims import CLAIMS
from lab.scenarios.scenario import Scenario
from lab.scenarios.switches import ALSO_GLOBAL, BY_SERVICE, SWITCHES, Allowed

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of scenario files."""
    document = Scenario.model_json_schema()
    definitions, properties = document["$defs"], document["properties"]
    del properties["name"]  # the name of the file gives it
    document["required"].remove("name")
    properties["claims"]["items"] = {"enum": list(CLAIMS)}
    properties["explain"] = _allow_table(properties["explain"], "text")
    properties["steady_state"] = _allow_table(properties["steady_state"], "that")
    _expand_options(
        definitions["MethodSpec"], _fault_options(), fault=list(KINDS), target=list(known_targets())
    )
    switches = _switches()
    switches["bus"]["anyOf"] = [{"enum": switches["bus"].pop("enum")}, {"pattern": "^nats://"}]
    _expand_options(definitions["VariantSpec"], switches, arrangement=list(ARRANGEMENTS))
    return {"$schema": DRAFT, **document, "title": "A scenario of the sync-versus-async lab"}


def _expand_options(
    definition: dict[str, Any], option_schemas: dict[str, Any], **words: list[str]
) -> None:
    """Replace `options` with the keys that the model gathers in it; limit texts to known words."""
    del definition["properties"]["options"]
    for key, allowed in words.items():
        definition["properties"][key]["enum"] = allowed
        definition["properties"][key].pop("default", None)
    definition["properties"] |= option_schemas


def _allow_table(bare: dict[str, Any], key: str) -> dict[str, Any]:
    table = {"type": "object", "properties": {key: bare}, "additionalProperties": False}
    return {"anyOf": [bare, table]}


def _fault_options() -> dict[str, Any]:
    """Every option of every fault; the description names the kinds that have it."""
    options: dict[str, Any] = {}
    for fault in KINDS.values():
        properties = fault.model_json_schema(by_alias=True)["properties"]
        options |= {name: properties[name] for name in fault.options()}
    for name, description in describe_options().items():
        options[name]["description"] = description
        options[name].pop("default", None)
    return options


def _switches() -> dict[str, Any]:
    takers: dict[str, list[str]] = {}
    allowed: dict[str, Allowed] = {}
    for arrangement, switches in SWITCHES.items():
        for name, values in switches.items():
            takers.setdefault(name, []).append(arrangement)
            allowed[name] = values if name not in allowed else _union(allowed[name], values)
    return {
        name: {
            **_to_schema(values, BY_SERVICE.get(name, ()), name in ALSO_GLOBAL),
            "description": f"of {', '.join(takers[name])}",
        }
        for name, values in allowed.items()
    }


def _union(first: Allowed, second: Allowed) -> Allowed:
    """The values that either of the two allows; both must be of one type."""
    if isinstance(first[0], str):
        return tuple(dict.fromkeys((*first, *second)))
    return (min(first[0], second[0]), max(first[1], second[1]))  # type: ignore[return-value]


def _to_schema(
    values: Allowed, services: Sequence[str] = (), or_for_all: bool = False
) -> dict[str, Any]:
    first, last = values[0], values[-1]
    if services:
        each = dict.fromkeys(services, _to_schema(values))
        table = {"type": "object", "properties": each, "additionalProperties": False}
        return {"anyOf": [_to_schema(values), table]} if or_for_all else table
    if isinstance(first, bool):
        return {"type": "boolean"}
    if isinstance(first, str):
        return {"enum": list(values)}
    return {
        "type": "integer" if isinstance(first, int) else ["number", "boolean"],
        "minimum": first,
        "maximum": last,
    }
