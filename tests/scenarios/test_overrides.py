"""`--set` on a run: which variants get a switch, and which settings are refused."""

import re
from typing import Any

import pytest

from lab.scenarios import catalogue
from lab.scenarios.overrides import apply_overrides


def options(name: str, **settings: Any) -> dict[str, dict[str, Any]]:
    changed = apply_overrides(catalogue.find(name), settings=settings)
    return {variant: spec.options for variant, spec in changed.variants.items()}


def test_each_variant_that_has_a_switch_gets_it() -> None:
    assert options("slow-service", timeout_ms=500) == {
        "sync-chain": {"timeout_ms": 500},
        "async-bus": {},
    }
    assert options("slow-service", workers=4) == {
        "sync-chain": {"workers": 4},
        "async-bus": {"workers": 4},
    }


def test_a_setting_replaces_the_value_of_the_file() -> None:
    before = catalogue.find("timeouts").variants
    after = options("timeouts", timeout_ms=123)
    assert any("timeout_ms" in spec.options for spec in before.values())
    for name, spec in before.items():
        wanted = 123 if spec.arrangement == "sync-chain" else None
        assert after[name] == {**spec.options, **({"timeout_ms": wanted} if wanted else {})}


def test_bus_among_the_settings_is_the_same_as_the_option() -> None:
    by_setting = apply_overrides(catalogue.find("downed-service"), settings={"bus": "nats"})
    assert by_setting == apply_overrides(catalogue.find("downed-service"), bus="nats")
    assert by_setting.variants["async-bus"].options == {"bus": "nats"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"retrys": 3}, "no variant of slow-service has a switch 'retrys'. Did you mean 'retries'"),
        ({"retries": 99}, "sync-chain.retries"),
        ({"workers": "many"}, "workers"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        options("slow-service", **settings)
