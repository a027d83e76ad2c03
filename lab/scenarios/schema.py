"""The JSON Schema of a scenario file, made from the models: for completion and checks in editors.

It has every key, every allowed word and every limit; each kind of fault has its own options, and
each arrangement its own switches. It cannot express some checks of `lab validate`: whether a path
leads to a figure, and whether a fault can act on a target.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.cluster.fault_rules import known_targets
from lab.faults.kinds import KINDS, Fault
from lab.results.claims import CLAIMS
from lab.scenarios.scenario import Scenario
from lab.scenarios.switches import ALSO_GLOBAL, BY_SERVICE, SWITCHES, Allowed

DRAFT = "https://json-schema.org/draft/2020-12/schema"

JsonSchema = dict[str, Any]


def schema() -> JsonSchema:
    """A JSON Schema (draft 2020-12) of scenario files."""
    document = Scenario.model_json_schema()
    definitions, properties = document["$defs"], document["properties"]
    del properties["name"]  # the name of the file gives it
    document["required"].remove("name")
    properties["claims"]["items"] = {"enum": list(CLAIMS)}
    properties["explain"] = _allow_table(properties["explain"], "text")
    properties["steady_state"] = _allow_table(properties["steady_state"], "that")
    method, variant = definitions["MethodSpec"], definitions["VariantSpec"]
    definitions["MethodSpec"] = {"oneOf": [_method(method, fault) for fault in KINDS.values()]}
    definitions |= {arrangement: _variant(variant, arrangement) for arrangement in SWITCHES}
    # A variant named after its arrangement need not name it again.
    any_variant = {"$ref": "#/$defs/VariantSpec"}
    definitions["VariantSpec"] = {
        "oneOf": [{**_reference(name), "required": ["arrangement"]} for name in SWITCHES]
    }
    properties["variants"] |= {
        "properties": {name: {"anyOf": [_reference(name), any_variant]} for name in SWITCHES},
        "additionalProperties": any_variant,
    }
    return {"$schema": DRAFT, **document, "title": "A scenario of the sync-versus-async lab"}


def _reference(definition: str) -> JsonSchema:
    return {"$ref": f"#/$defs/{definition}"}


def _allow_table(bare: JsonSchema, key: str) -> JsonSchema:
    table = {"type": "object", "properties": {key: bare}, "additionalProperties": False}
    return {"anyOf": [bare, table]}


def _method(base: JsonSchema, fault: type[Fault]) -> JsonSchema:
    """A method with one kind of fault: the keys of every method, and the options of this kind."""
    model = fault.model_json_schema(by_alias=True)
    options = {name: model["properties"][name] for name in fault.options()}
    kind, target = {"const": fault.kind}, {"enum": list(known_targets())}
    specialised = _specialised(base, {**options, "fault": kind, "target": target})
    return {**specialised, "title": fault.kind, "required": ["fault", *model["required"]]}


def _variant(base: JsonSchema, arrangement: str) -> JsonSchema:
    """A variant of one arrangement: the keys of every variant, and the switches of this one."""
    switches = {name: _switch(name, allowed) for name, allowed in SWITCHES[arrangement].items()}
    return {
        **_specialised(base, {**switches, "arrangement": {"const": arrangement}}),
        "title": arrangement,
    }


def _specialised(base: JsonSchema, properties: Mapping[str, JsonSchema]) -> JsonSchema:
    """A copy of a model's schema with these keys, in place of `options`, which gathers them."""
    common = {name: value for name, value in base["properties"].items() if name != "options"}
    return {**base, "properties": {**common, **properties}}


def _switch(name: str, allowed: Allowed) -> JsonSchema:
    value = _value(allowed)
    if name == "bus":
        return {"anyOf": [value, {"pattern": "^nats://"}]}
    if name not in BY_SERVICE:
        return value
    table = _table_of(BY_SERVICE[name], value)
    return {"anyOf": [value, table]} if name in ALSO_GLOBAL else table


def _table_of(services: Sequence[str], value: JsonSchema) -> JsonSchema:
    each = dict.fromkeys(services, value)
    return {"type": "object", "properties": each, "additionalProperties": False}


def _value(allowed: Allowed) -> JsonSchema:
    first, last = allowed[0], allowed[-1]
    if isinstance(first, bool):
        return {"type": "boolean"}
    if isinstance(first, str):
        return {"enum": list(allowed)}
    kind = "integer" if isinstance(first, int) else ["number", "boolean"]
    return {"type": kind, "minimum": first, "maximum": last}
