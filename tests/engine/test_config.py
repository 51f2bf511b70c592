"""Settings: what is accepted, what is refused and how, and that the numbers follow preset and overrides."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from engine.config import PRESETS, JobSettings
from engine.errors import InputError


def test_settings_survive_a_round_trip_through_json() -> None:
    settings = JobSettings(prompt="a red mushroom", source="a red mushroom, blurry", seed=2**40, overrides={"views": 2})
    assert JobSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_named_settings_and_overrides_replace_the_presets_numbers() -> None:
    numbers = JobSettings(prompt="a mug", preset="standard", closing=0.0, faces=1234, overrides={"views": 3}).resolve()
    assert (numbers.closing, numbers.faces, numbers.views) == (0.0, 1234, 3)
    assert numbers.grid == PRESETS["standard"].grid


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_within_its_own_ranges(name: str) -> None:
    assert PRESETS[name].validated() is PRESETS[name]


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": ""},
        {"prompt": "   "},
        {"prompt": "a mug", "preset": "best"},
        {"prompt": "a mug", "mode": "sculpt"},
        {"prompt": "a mug", "device": "tpu"},
        {"prompt": "a mug", "seed": -1},
        {"prompt": "a mug", "seed": 1.5},
        {"prompt": "a mug", "adherence": 1.2},
        {"prompt": "a mug", "adherence": float("nan")},
        {"prompt": "a mug", "thickness": float("inf")},
        {"prompt": "a mug", "faces": 3},
        {"prompt": "a mug", "faces": 3000.5},
        {"prompt": "a mug", "steps": 3},
        {"prompt": "a mug", "overrides": {"stage1_step": 3}},
        {"prompt": "a mug", "overrides": {"grid": 33}},
        {"prompt": "a mug", "overrides": {"t_high_end": 0.02}},
        {"prompt": "a mug", "overrides": {"stage1_steps": "many"}},
        {"prompt": "a mug", "overrides": {"stage2_method": "magic"}},
    ],
)
def test_what_cannot_be_used_is_refused_with_a_fix(values: dict[str, object]) -> None:
    with pytest.raises(InputError) as caught:
        JobSettings.from_dict(values)
    assert caught.value.message and caught.value.fix and caught.value.exit_code == 2


def test_settings_load_without_torch() -> None:
    code = "import sys, engine.config, engine.reporting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
