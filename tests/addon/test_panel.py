"""What the panel shows, where it can be told without a window."""

from __future__ import annotations

import json
import textwrap
from types import ModuleType
from typing import Any

import blf
import bpy
import numpy as np
import pytest
from helpers import add_cube, part

LABEL_PIXELS = 86
"""What a label has in a sidebar as wide as Blender makes it; seen in a window: 'Dream Guidance', of 87, was cut."""


def test_every_setting_of_the_panel_is_a_property_with_the_tables_words_and_bounds(scene: ModuleType) -> None:
    properties, fields, job_fields = part(scene, "properties"), part(scene, "fields"), part(scene, "job_fields")
    made = bpy.context.scene.sketchbridge.bl_rna.properties
    for described in properties.DESCRIBED:
        for field in fields.shown(described, fields.Door.PANEL):
            shown = made[field.name]
            assert shown.name == field.spec.label and shown.description.startswith(field.spec.description)
            if field.spec.choices or field.spec.offered:
                assert len(shown.enum_items) == len(field.spec.choices) + len(field.spec.offered) + bool(field.spec.offered)
            elif field.kind in (int, float):
                assert shown.hard_min / properties.scale(field) == pytest.approx(field.spec.low)
                assert shown.hard_max / properties.scale(field) == pytest.approx(min(field.spec.high, 2**31 - 1))
    for name in job_fields.PRESETS:  # what a number that is switched off shows
        assert all(
            part(scene, "panels").preset_text(field, name) for field in properties.FIELDS.values() if properties.left_to_preset(field)
        )


def test_a_number_that_is_left_out_is_shown_as_the_job_takes_it(scene: ModuleType) -> None:
    properties, job_fields, panels = part(scene, "properties"), part(scene, "job_fields"), part(scene, "panels")
    for model in ("embedded", "owner/model"):
        for preset in job_fields.PRESETS:
            taken = job_fields.JobSettings.from_dict({"prompt": "x", "preset": preset, "model": model}).resolve()
            for field in filter(properties.left_to_preset, properties.FIELDS.values()):
                value = getattr(taken, field.name)
                value = value * properties.scale(field) if field.kind is float else value
                assert properties.preset_value(field, preset, model) == value
    guidance = properties.FIELDS["guidance_scale"]
    assert (panels.preset_text(guidance, "draft", "embedded"), panels.preset_text(guidance, "draft", "owner/model")) == ("2", "12")


def test_a_number_that_is_switched_on_starts_from_the_one_that_was_shown(scene: ModuleType) -> None:
    properties, settings = part(scene, "properties"), bpy.context.scene.sketchbridge
    switched = [field for field in properties.FIELDS.values() if properties.left_to_preset(field) and not field.spec.offered]
    assert {"guidance_scale", "stage2_method", "stage1_steps"} <= {field.name for field in switched}
    for preset, model in (("draft", "embedded"), ("standard", "owner/model"), ("draft", "owner/model"), ("high", "embedded")):
        settings.preset, settings.model = preset, model
        for field in switched:
            setattr(settings, f"use_{field.name}", True)
            shown = properties.preset_value(field, preset, model)
            assert getattr(settings, field.name) == (pytest.approx(shown, rel=1e-6) if field.kind is float else shown), field.name
            setattr(settings, f"use_{field.name}", False)
    settings.use_guidance_scale, settings.guidance_scale = True, 3.0  # the artist's own stays
    settings.use_guidance_scale, settings.preset = False, "draft"
    settings.use_guidance_scale = True
    assert settings.guidance_scale == 3.0 and properties.job_settings(settings, "refine")["overrides"]["guidance_scale"] == 3.0


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "ja", "zh"])
def test_labels_fit_beside_their_settings(scene: ModuleType, language: str) -> None:
    panels, translations = part(scene, "panels"), part(scene, "translations")
    table = {} if language == "en" else translations._table()[translations.LOCALES[language][0]]
    labels = [panels.panel_label(field) for field in part(scene, "properties").FIELDS.values() if field.spec.section]
    assert len(labels) > 30
    blf.size(0, 11)  # of the interface, in points
    widths = {text: blf.dimensions(0, text)[0] for text in (table.get(("*", label), label) for label in labels)}
    assert {text: width for text, width in widths.items() if width > LABEL_PIXELS} == {}


def test_every_section_of_the_table_has_its_panel(scene: ModuleType) -> None:
    sections = [entry.section for entry in part(scene, "panels").CLASSES if hasattr(entry, "section")]
    assert sorted(sections) == sorted({field.spec.section for field in part(scene, "properties").FIELDS.values()} - {""})


ODD = {"prompt": "a mug", "seed": 7, "preset": "high", "closing": 0.08, "faces": 300, "texture_size": 300, "source": "a pot",
       "overrides": {"fov": 50.0, "views": 2, "stage2_method": "sds", "smoothness": 2.5}}  # fmt: skip


@pytest.mark.parametrize("values", [{"prompt": "a mug"}, ODD, {"prompt": "a mug", "texture_size": 512, "adherence": 1.0}])
def test_the_panel_takes_on_the_settings_of_a_job_and_gives_them_back(scene: ModuleType, values: dict[str, Any]) -> None:
    properties, settings = part(scene, "properties"), bpy.context.scene.sketchbridge
    checked = part(scene, "job_fields").JobSettings.from_dict
    wanted = checked(values)
    properties.show(settings, {"prompt": "something else", "faces": 99, "thickness": 0.1, "overrides": {"grid": 32}})
    properties.show(settings, json.loads(json.dumps(wanted.to_dict())))
    given = checked(properties.job_settings(settings, "refine"))
    for name, value in vars(wanted.resolve()).items():
        assert getattr(given.resolve(), name) == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name
    for name in ("prompt", "source", "model", "preset", "seed", "device", "adherence"):
        assert getattr(given, name) == getattr(wanted, name)


def test_a_number_typed_into_the_panel_is_the_number_typed_at_a_command_line(scene: ModuleType) -> None:
    settings = bpy.context.scene.sketchbridge
    settings.adherence, settings.use_closing, settings.closing = 0.3, True, 3.1
    given = part(scene, "properties").job_settings(settings, "refine")
    assert given["adherence"] == 0.3 and given["closing"] == pytest.approx(0.0496, abs=1e-15)


def test_a_method_that_this_panel_does_not_know_stays_with_the_overrides(scene: ModuleType) -> None:
    properties, settings = part(scene, "properties"), bpy.context.scene.sketchbridge
    properties.show(settings, {"prompt": "a mug", "overrides": {"stage2_method": "of a newer engine"}})
    assert properties.job_settings(settings, "refine")["overrides"] == {"stage2_method": "of a newer engine"}


def test_a_seed_beyond_blenders_numbers_is_refused_by_the_panel_and_kept_on_a_result(scene: ModuleType) -> None:
    values = {"prompt": "a mug", "seed": 2**40}
    with pytest.raises(Exception, match="too large for Blender"):
        part(scene, "properties").show(bpy.context.scene.sketchbridge, values)
    add_cube()
    assert part(scene, "jobs").begin(bpy.context, "refine", values) is None
    made = bpy.data.objects[part(scene, "jobs").run_blocking(bpy.context).result]
    assert made["sketchbridge_seed"] == str(2**40) and json.loads(made["sketchbridge_settings"])["seed"] == 2**40


def test_a_strip_of_views_becomes_a_square(scene: ModuleType) -> None:
    squared = part(scene, "panel_job").squared
    strip = np.concatenate([np.full((5, 5, 3), index, np.uint8) for index in range(4)], axis=1)
    tiles = squared(strip)
    assert tiles.shape == (10, 10, 3) and [tiles[0, 0, 0], tiles[0, 9, 0], tiles[9, 0, 0], tiles[9, 9, 0]] == [0, 1, 2, 3]
    for shape in ((5, 5, 3), (5, 10, 3), (5, 15, 3), (7, 5, 3)):
        assert squared(np.zeros(shape, np.uint8)).shape == shape


def test_words_that_the_embedded_prior_does_not_know_are_told_before_the_start(scene: ModuleType) -> None:
    known_words = part(scene, "known_words")
    warning = known_words.warning
    assert warning("a wooden zebra", "embedded") == "The model does not know: zebra. What it knows is in the list beside the prompt."
    assert warning("a wodden chair", "embedded").startswith("The model does not know: wodden (wooden?).")
    assert {"an apple", "a tulip"} <= set(known_words.examples("embedded")) and known_words.examples("owner/model") == []
    assert all(warning(example, "embedded") is None for example in known_words.examples(""))
    assert warning("two red tulips, front view", "embedded") is None and warning("  ", "embedded") is None
    assert warning("a wooden zebra", "owner/model") is None  # only the engine can tell


def test_sentences_fill_the_panels_lines_and_fit_into_them(scene: ModuleType) -> None:
    report, region = part(scene, "report"), 280
    room, width = region - report._MARGIN_PIXELS, int((region - report._MARGIN_PIXELS) / report._CHARACTER_PIXELS)
    blf.size(0, 11)
    sentences = [part(scene, "known_words").warning("a wooden toy ship", "embedded"), panels_words(scene)]
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, width)]
    widths = [blf.dimensions(0, line)[0] for line in lines]
    assert max(widths) <= room and max(widths) > 0.75 * room


def panels_words(scene: ModuleType) -> str:
    """Every tooltip of the settings, one after another."""
    properties = part(scene, "properties")
    return " ".join(properties.tooltip(field) for field in properties.FIELDS.values())


def test_the_status_bars_text_fits_into_its_bar(scene: ModuleType) -> None:
    status, words = part(scene, "status"), part(scene, "words")
    blf.size(0, 11)
    longest = f"{0.999:.0%}, {words.duration(3599)} left"
    assert blf.dimensions(0, longest)[0] + 8 <= status.BAR_UNITS * 20
