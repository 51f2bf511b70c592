"""What a texture job is given and cannot use as it is: refused, or told with what is done instead, before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapes import box

from engine.errors import InputError, JobError
from engine.formats.meshio import load_mesh
from engine.job import run_job
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.reporting import QuietReporter

CASES = Path(__file__).resolve().parents[1] / "cases" / "meshes"


class Begun(Exception):
    """The job got as far as loading its model."""


def begun(*_: object, **__: object) -> object:
    raise Begun


def given(name: str) -> Mesh:
    """As the command line reads it."""
    return load_mesh(CASES / f"{name}.glb", [], texture=True)


def told(mesh: Mesh, **settings: object) -> str:
    """What a job says on its way to its model."""
    reporter = QuietReporter()
    with pytest.raises(Begun):
        run_job(mesh, JobSettings("a red apple", mode="texture", device="cpu", **settings), reporter, load=begun)  # type: ignore[arg-type]
    return "\n".join(reporter.notes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tiled_uv_12", "reaches beyond 0..1: its texture repeats"),
        ("uv_all_zero", "has no UV layout with an area: it gets a new one"),
        ("uv_one_nan", "has UVs that are no numbers: it gets a new one"),
        ("mirrored_uv", "lies upon other faces (mirrored or repeated): what shares a texel gets the mean of its colours"),
        ("three_full_uv_parts", "3 images:"),
    ],
)
def test_a_layout_that_cannot_be_used_as_it_is_is_told(name: str, words: str) -> None:
    assert words in told(given(name))


def nan_in_place(mesh: Mesh) -> Mesh:
    vertices = mesh.vertices.copy()
    vertices[0] = np.nan
    return mesh.with_vertices(vertices)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"paint": "slots", "paint_name": "sofa"}, "unknown_part", "no part, slot or object 'sofa'; there are '"),
        ({"part_prompts": "sofa: red velvet"}, "unknown_part", "no part, slot or object 'sofa'; there are '"),
        ({"part_prompts": "red velvet"}, "bad_setting", "NAME: PROMPT"),
        ({"paint": "faces"}, "bad_setting", "no selected faces"),
        ({"paint": "group", "paint_name": "Legs"}, "bad_setting", "no vertex groups"),
        ({"paint": "colour"}, "no_mask", "no vertex colours"),
        ({"paint": "image", "paint_name": "FOLDER/black.png"}, "nothing_to_paint", "paints nothing"),
        ({"paint": "image", "paint_name": "FOLDER/nowhere.png"}, "cannot_read", "nowhere.png"),
        ({"paint": "image", "paint_name": "FOLDER/text.png"}, "cannot_read", "text.png"),
        ({"init_texture": "FOLDER/nowhere.png"}, "cannot_read", "nowhere.png"),
        ({"init_texture": "FOLDER/nowhere.<UDIM>.png"}, "cannot_read", "nowhere.1001.png"),
    ],
)
def test_what_cannot_be_had_is_refused(settings: dict[str, str], code: str, words: str, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no picture")
    placed = {name: value.replace("FOLDER", str(tmp_path)) for name, value in settings.items()}
    with pytest.raises(InputError) as caught:
        told(given("three_full_uv_parts"), **placed)
    assert caught.value.code == code and words in caught.value.message and caught.value.fix


def test_a_mask_of_another_size_and_shape_is_looked_up_by_the_uvs(tmp_path: Path) -> None:
    Image.fromarray(np.full((7, 13, 3), 255, np.uint8)).save(tmp_path / "odd.png")
    told(given("lowpoly_textured_box"), paint="image", paint_name=str(tmp_path / "odd.png"))


@pytest.mark.parametrize("change", [lambda mesh: mesh.of_faces(np.zeros(len(mesh.faces), bool)), nan_in_place])
def test_a_mesh_without_a_surface_or_with_vertices_that_are_no_numbers_is_refused(change: Callable[[Mesh], Mesh]) -> None:
    with pytest.raises(InputError) as caught:
        told(change(box((0.5, 0.4, 0.6))))
    assert caught.value.fix


def test_a_texture_beyond_memory_is_refused_with_the_largest_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.room.free_bytes", lambda: int(2.5e9))
    wishes = {"maps": "all", "map_format": "exr", "overrides": {"texture_size": 8192}}
    with pytest.raises(JobError) as caught:
        told(given("three_full_uv_parts"), **wishes)
    assert caught.value.code == "needs_memory" and "a texture size of 2048, the largest that fits" in caught.value.fix
    assert "memory will be needed" in told(given("three_full_uv_parts"), **{**wishes, "overrides": {"texture_size": 2048}})
