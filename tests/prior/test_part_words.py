"""Captions that name parts say what is to be seen."""

from __future__ import annotations

import random

import numpy as np
import pytest

from scripts.prior.data.kinds import KINDS
from scripts.prior.data.palette import COLOURS, METALS
from scripts.prior.data.part_words import PAINTS, WOODEN, look_words, named_looks, repaint, with_parts
from scripts.prior.data.workbench import Material, Workbench
from scripts.prior.surface.wording import Description, draw_words


def made(kind: str, seed: int):
    bench = Workbench(random.Random(f"{kind} {seed}"))
    return bench.parts, KINDS[kind](bench).caption


@pytest.mark.parametrize("name", PAINTS)
def test_a_painted_surface_is_called_by_its_colour(name):
    assert look_words(Material(COLOURS[name])) == name


def test_wood_and_metals_are_called_so():
    assert look_words(Workbench(random.Random(0)).wood()) == WOODEN
    for name in METALS:
        assert look_words(Material(COLOURS[name], metallic=1.0)) == name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_of_a_repainted_subject_is_so(kind):
    for seed in range(6):
        parts, caption = made(kind, seed)
        painted, new_caption, told = repaint(parts, caption, random.Random(seed))
        assert [part.mesh for part in painted] == [part.mesh for part in parts]
        for name in told:
            assert len({part.material for part in painted if part.name == name}) == 1
        if new_caption != caption:  # some part has the colour that the new caption names first
            assert {look_words(part.material) for part in painted} & set(new_caption.split()) or told


def test_parts_that_look_different_have_no_one_look():
    bench = Workbench(random.Random(0))
    mesh = made("apple", 0)[0][0].mesh
    bench.add(mesh, Material(COLOURS["red"]), name="cover")
    bench.add(mesh, Material(COLOURS["blue"]), name="cover")
    bench.add(mesh, Material(COLOURS["green"]), name="leaf")
    assert named_looks(bench.parts, "a stack of books") == {"leaf": "green"}
    assert named_looks(bench.parts, "an apple with a leaf") == {}


@pytest.mark.parametrize(
    ("caption", "looks", "told", "expected"),
    [
        ("a white house", {"roof": "red"}, [], "a white house"),
        ("a white house", {"roof": "red"}, ["roof"], "a white house with a red roof"),
        ("a house", {"roof": "orange", "windows": "blue"}, ["roof", "windows"], "a house with an orange roof and blue windows"),
        ("a cactus with a pot", {"spines": "white"}, ["spines"], "a cactus with a pot and white spines"),
        ("a bed", {"mattress": "white"}, ["mattress"], "a bed with a white mattress"),
    ],
)
def test_parts_are_told_in_english(caption, looks, told, expected):
    assert with_parts(caption, looks, told) == expected


def test_what_must_be_told_is_always_in_the_caption():
    house = Description("house", "a white house", {"roof": "purple", "door": "red", "windows": "black"}, ("roof",))
    extra = 0
    for seed in range(60):
        said = draw_words(house, "on sand", "front", False, ("blurry",), np.random.default_rng(seed))
        assert "a purple roof" in said.caption and said.looks["roof"] == "purple"
        assert said.caption.endswith(", blurry")
        assert said.background == ("on sand" in said.caption) and said.view == ("front view" in said.caption)
        extra += "red door" in said.caption
    assert 0 < extra < 30
