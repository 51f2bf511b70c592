"""Settings: what is accepted, what is refused and how, that the numbers follow preset and overrides, and that every door shows them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import subprocess
import sys
import typing
from collections.abc import Mapping

import pytest

from engine.cli import OPTIONS, build_parser
from engine.diffusion.prompts import source_prompt
from engine.distillation import PromptPair
from engine.dream_fields import DreamNumbers
from engine.errors import InputError
from engine.fields import Door, Field, add_options, table, values_from, words_of
from engine.guidance.methods import methods_for
from engine.job_fields import MODES, PRESET_CHOICES, PRESETS, STAGE2_METHODS, Hyperparameters, JobSettings

EVERY_FIELD = [pytest.param(described, field, id=name) for described in (JobSettings, Hyperparameters, DreamNumbers)
               for name, field in table(described).items()]  # fmt: skip
TABLES = {Hyperparameters: "overrides", DreamNumbers: "dream"}
"""Where those of a class travel that are no settings of their own."""


def test_settings_survive_a_round_trip_through_json() -> None:
    settings = JobSettings(prompt="a red mushroom", source="a red mushroom, blurry", seed=2**40, overrides={"views": 2})
    assert JobSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_named_settings_and_overrides_replace_the_presets_numbers() -> None:
    numbers = JobSettings(prompt="a mug", preset="standard", closing=0.0, faces=1234, overrides={"views": 3}).resolve()
    assert (numbers.closing, numbers.faces, numbers.views) == (0.0, 1234, 3)
    assert numbers.grid == PRESETS["standard"].grid


def test_a_grid_that_the_user_names_is_taken_whatever_the_surface() -> None:
    assert PRESETS["draft"].grid_faces > 0 and JobSettings(prompt="a mug").resolve().grid_faces == PRESETS["draft"].grid_faces
    assert JobSettings(prompt="a mug", overrides={"grid": 160}).resolve().grid_faces == 0
    assert JobSettings(prompt="a mug", overrides={"grid": 160, "grid_faces": 5000}).resolve().grid_faces == 5000


def test_the_presets_are_the_ones_offered_and_the_methods_exist() -> None:
    assert [choice.value for choice in PRESET_CHOICES] == list(PRESETS)
    assert {choice.value for choice in STAGE2_METHODS} <= set(methods_for("job"))


@pytest.mark.parametrize(("described", "field"), EVERY_FIELD)
def test_every_field_is_described_and_its_bounds_are_the_ones_that_hold(described: type, field: Field) -> None:
    spec = field.spec
    assert spec.label and spec.description and not spec.description.endswith(".") and Door.WIRE in spec.doors
    assert bool(spec.section) <= (Door.PANEL in spec.doors)
    for bound, beyond in ((spec.low, -1), (spec.high, 1)):
        if field.kind in (int, float):
            assert math.isfinite(bound)
            step = spec.multiple if field.kind is int else max(abs(bound), 1.0) * 1e-6
            with pytest.raises(InputError) as caught:
                JobSettings.from_dict(given(described, field, bound + beyond * step))
            assert caught.value.code == "bad_setting" and field.name in caught.value.fix and spec.label in caught.value.message
            if not field.name.removeprefix("dream_").startswith(("t_", "overhead")):  # these bound each other, and views those from above
                JobSettings.from_dict(given(described, field, bound))


@pytest.mark.parametrize(("described", "field"), EVERY_FIELD)
@pytest.mark.parametrize("wrong", [5, math.nan, -math.inf, True, "five", [], {"a": 1}, None], ids=repr)
def test_a_value_of_another_type_is_bad_input_with_a_fix(described: type, field: Field, wrong: object) -> None:
    """Nothing but settings that can be used or an InputError comes out, whatever arrives over the wire."""
    try:
        made = JobSettings.from_dict(given(described, field, wrong))
    except InputError as error:
        assert error.message and error.fix
        return
    held = getattr(
        made if described is JobSettings else made.resolve() if described is Hyperparameters else made.resolve_dream(), field.name
    )
    assert (field.optional and held is None) or isinstance(held, (int, float) if field.kind is float else field.kind)
    assert not isinstance(held, bool) and not (isinstance(held, float) and not math.isfinite(held))


def given(described: type, field: Field, value: object) -> dict[str, object]:
    """A job's settings with one field set."""
    values = {field.name: value}
    return {"prompt": "a mug", **(values if described is JobSettings else {TABLES[described]: values})}


def test_the_command_line_has_an_option_for_every_field_and_gives_back_what_was_typed() -> None:
    typed = {int: "64", float: "0.25", str: "some text"}
    words: list[str] = []
    for field in OPTIONS:
        text = field.spec.choices[-1].value if field.spec.choices else typed.get(field.kind, "")
        words += ["--set", "views=2", "--set", "stage2_method=sds"] if field.kind is Mapping else [f"{field.option}={text}"]
    for mode in MODES:
        arguments = build_parser().parse_args([mode.value, "sketch.glb", "--out", "folder", *words])
        settings = JobSettings.from_dict(values_from(arguments, OPTIONS))
        assert {name for name in table(JobSettings) if getattr(settings, name) == table(JobSettings)[name].default} <= {"mode"}
        again = build_parser().parse_args([mode.value, "sketch.glb", "--out", "folder", *words_of(settings.to_dict(), OPTIONS)])
        assert JobSettings.from_dict(values_from(again, OPTIONS)) == settings
        assert settings.resolve().views == 2 and settings.resolve().stage2_method == "sds" and settings.faces == 64


def test_descriptors_take_the_place_of_the_papers_in_the_source_prompt() -> None:
    assert PromptPair("a mug").source_for("back view") == source_prompt("a mug", "back view")
    assert PromptPair("a mug", descriptors="melted, grey").source_for("back view") == "a mug, back view, melted, grey"
    assert PromptPair("a mug", "a pot", descriptors="melted").source_for() == "a pot"  # the artist's own sentence goes before


def test_an_option_that_is_not_given_leaves_the_default() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, OPTIONS)
    values = values_from(parser.parse_args(["--prompt", "a mug"]), OPTIONS)
    assert values == {"prompt": "a mug"} and JobSettings.from_dict(values) == JobSettings(prompt="a mug")
    assert "100%" not in parser.format_help()  # a per cent sign in a description does not break argparse's own formatting


def test_a_new_field_is_checked_and_offered_without_another_line() -> None:
    """What a newcomer relies on: an annotated field alone is an option, has a range, and is refused in words."""
    from typing import Annotated

    from engine.fields import Spec, check_value

    described = dataclasses.make_dataclass("Described", [("sharpness", Annotated[float, Spec("Sharpness", "How sharp, in %", 0, 2)], 1.0)])
    field = table(described)["sharpness"]
    parser = argparse.ArgumentParser()
    add_options(parser, [field])
    assert values_from(parser.parse_args(["--sharpness", "1.5"]), [field]) == {"sharpness": 1.5}
    assert "How sharp, in % (from 0 to 2; default 1)" in parser.format_help()
    with pytest.raises(InputError, match=r"Sharpness must be a number from 0 to 2, got 3\."):
        check_value(field, 3)


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
        {"prompt": "a mug", "overrides": {"fov": float("nan")}},
        {"prompt": "a mug", "overrides": 5},
        {"prompt": "a mug", "overrides": {5: 5}},
        {"prompt": "a mug", "model": 5},
        {"prompt": "a mug", "model": ""},
        {"prompt": "a mug", "source": 5},
        {"prompt": "a mug", 5: 5},
        {},
        5,
    ],
)
def test_what_cannot_be_used_is_refused_with_a_fix(values: typing.Any) -> None:
    with pytest.raises(InputError) as caught:
        JobSettings.from_dict(values)
    assert caught.value.message and caught.value.fix and caught.value.exit_code == 2


def test_settings_load_without_torch() -> None:
    code = "import sys, engine.job_fields, engine.reporting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_embedded_model_has_its_own_strengths_unless_the_user_says_otherwise():
    """It sees the surface and needs little guidance; other models keep the preset's."""
    plain = JobSettings(prompt="a mug", model="owner/model").resolve()
    assert plain == PRESETS["draft"]
    own = JobSettings(prompt="a mug", preset="standard").resolve()
    assert own.guidance_scale < plain.guidance_scale and own.stage2_method == "anchored"
    assert own.grid == PRESETS["standard"].grid
    asked = JobSettings(prompt="a mug", overrides={"guidance_scale": 7.0, "stage2_method": "calibrated"}).resolve()
    assert (asked.guidance_scale, asked.stage2_method) == (7.0, "calibrated")
