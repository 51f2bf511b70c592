"""The examples are what they claim: drawn by the script, rough as sketches are, in frame, small."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.export import _components
from engine.formats.meshio import load_mesh
from engine.texture.atlas import is_closed
from engine.views import BACKGROUNDS

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("flower", "mushroom", "apple", "mug", "chair", "house", "tree", "teapot")


@pytest.mark.parametrize("name", NAMES)
def test_the_script_draws_what_is_committed(name: str) -> None:
    from scripts.examples.make import draw

    vertices, faces, colours = draw(name, 7)
    mesh = load_mesh(EXAMPLES / f"{name}.glb")
    assert np.array_equal(mesh.faces, faces)
    assert np.abs(mesh.vertices - vertices).max() < 1e-6  # sines of another machine's library
    assert mesh.colours is not None and np.abs(mesh.colours - colours).max() < 1e-3
    assert not np.array_equal(draw(name, 8)[0], vertices)


@pytest.mark.parametrize("name", NAMES)
def test_sketches_are_as_rough_as_promised(name: str) -> None:
    """Many separate open strokes, some inside out: their own signed volumes disagree."""
    mesh = load_mesh(EXAMPLES / f"{name}.glb")
    labels, count = _components(mesh)
    assert count >= 20
    assert not is_closed(mesh.faces)
    corners = mesh.corner_vertices().astype(np.float64)
    middle = np.stack([np.bincount(labels, weights=mesh.vertices[:, axis]) for axis in range(3)], axis=-1) / np.bincount(labels)[:, None]
    around = corners - middle[labels[mesh.faces[:, 0]]][:, None]
    volume = np.bincount(labels[mesh.faces[:, 0]], weights=(around[:, 0] * np.cross(around[:, 1], around[:, 2])).sum(axis=1))
    assert (volume > 0).mean() > 0.15 and (volume < 0).mean() > 0.15


def test_every_sketch_has_a_prompt_and_both_files_are_small() -> None:
    prompts = tomllib.loads((EXAMPLES / "prompts.toml").read_text())
    assert set(prompts) == set(NAMES) and prompts["flower"] == "a red tulip flower"
    for name in NAMES:
        for suffix in (".glb", ".blend"):
            assert 1000 < (EXAMPLES / f"{name}{suffix}").stat().st_size < 300_000
        # 4.2 writes zstandard frames when it compresses
        assert (EXAMPLES / f"{name}.blend").read_bytes()[:4] == b"\x28\xb5\x2f\xfd"


def test_the_board_is_captioned_framed_and_small() -> None:
    board = EXAMPLES / "boards" / "tulips"
    lines = [json.loads(line) for line in (board / "captions.jsonl").read_text().splitlines()]
    assert {line["file"] for line in lines} == {path.name for path in board.glob("*.webp")} and len(lines) == 160
    assert sum(path.stat().st_size for path in board.iterdir()) < 400_000
    colours = {background.words: background.colour for background in BACKGROUNDS}
    for line in lines:
        assert line["caption"] == "a red tulip flower" and -180 <= line["azimuth"] < 180
        with Image.open(board / line["file"]) as image:
            pixels = np.asarray(image.convert("RGB")).astype(float) / 255
        expected = np.array(colours[line["background"]])
        assert np.abs(pixels[[0, 0, -1, -1], [0, -1, 0, -1]] - expected).max() < 0.04  # WebP keeps plain corners to a few levels
        seen = np.abs(pixels - expected).max(axis=-1) > 0.15
        assert 0.05 < seen.mean() < 0.5
        rows = np.flatnonzero(seen.any(axis=1))
        assert 0.5 < len(rows) / 64 < 0.95  # the object fills most of the height, as a sketch does in the engine's cameras


def test_the_board_s_tulip_fills_the_engine_s_cube() -> None:
    from engine.conventions import FIT_EXTENT
    from scripts.examples import board

    points = np.concatenate([vertices for vertices, _, _ in board.tulip()])
    assert np.ptp(points, axis=0).max() == pytest.approx(2 * FIT_EXTENT)
    assert np.allclose(points.max(axis=0) + points.min(axis=0), 0, atol=1e-9)
