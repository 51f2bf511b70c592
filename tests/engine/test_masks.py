"""What is painted and what stays: byte for byte where nothing is painted, faded at the edge, with prompts and starts of their own."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.conventions import SceneNormalization
from engine.diffusion.prior import Conditions
from engine.errors import InputError
from engine.formats.parts import Appearance, Look
from engine.guidance.regions import PartPrompts
from engine.guidance.step import ConditionPair, GuidanceSettings, Noised, Region, predict_roles
from engine.job_fields import JobSettings
from engine.mesh import Mask, Mesh
from engine.reporting import QuietReporter
from engine.texture.field import ColourField
from engine.texture.finish import finish_texture, planned_sets
from engine.texture.masks import Feather, MaskedColours, requested
from engine.texture.start import with_start
from engine.texture.watcher import Watcher
from engine.texture_sets import FIRST_TILE, Piece, prompts_of_parts
from tests.engine.test_texture_sets import PLACEMENT, SQUARE, multi_part, sheets, udim

SIZE = 32


def noise(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def with_look(mesh: Mesh, picture: np.ndarray) -> Mesh:
    """The mesh showing a picture by its uvs."""
    assert mesh.uvs is not None
    image = np.concatenate([picture, np.full((*picture.shape[:2], 1), 255, np.uint8)], axis=2)
    shown = Appearance(image=image, uvs=mesh.uvs.reshape(-1, 2).astype(np.float64))
    flat = np.arange(3 * len(mesh.faces)).reshape(-1, 3)
    return replace(mesh, look=Look(np.zeros(len(mesh.faces), int), flat, (shown,)))


def black() -> ColourField:
    field = ColourField(8)
    with torch.no_grad():
        field.grids[0].fill_(-20)
    return field


def painted(mesh: Mesh, size: int = 64, feather: float = 0.0) -> tuple[np.ndarray, list[str]]:
    """The first image of a mesh that is painted black, and the notes."""
    reporter = QuietReporter()
    watcher = Watcher(note=reporter.note)
    _, images = finish_texture(mesh, black(), PLACEMENT, size, watcher, planned_sets(mesh), feather)
    return images[0].tiles[FIRST_TILE]["albedo"], reporter.notes


def test_what_is_not_painted_stays_byte_for_byte_at_its_own_size() -> None:
    """A square of two triangles, one of which is painted; the picture has another size than the job's."""
    picture = noise(1)
    mesh = with_look(sheets(1, SQUARE, (Piece("a"),), [0, 0]), picture)
    mesh = replace(mesh, mask=Mask(np.array([[1, 1, 1], [0, 0, 0]], np.float32)))
    albedo, notes = painted(mesh)
    assert albedo.shape == (SIZE, SIZE, 3) and any("keeps the size of its image, 32" in note for note in notes)
    row, column = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    below = column > SIZE - 1 - row  # u > v: the first triangle
    assert (albedo[below & (column > SIZE - row)] == 0).all()
    above = column < SIZE - 1 - row
    assert np.array_equal(albedo[above], picture[above])


def test_an_untouched_part_keeps_its_picture_whole() -> None:
    picture = noise(2)
    mesh = with_look(multi_part(), picture)
    mesh = replace(mesh, mask=Mask(np.repeat([[0.0], [0.0], [1.0], [1.0], [0.0], [0.0]], 3, axis=1).astype(np.float32)))
    _, images = finish_texture(mesh, black(), PLACEMENT, 64, sets=planned_sets(mesh))
    first, second, third = (one.tiles[FIRST_TILE]["albedo"] for one in images)
    assert np.array_equal(first, picture) and np.array_equal(third, picture) and (second == 0).all()


def test_the_edge_fades_in_and_leaves_what_is_outside() -> None:
    """Two squares that touch in space: the second is painted, from nothing at the border to all of it beyond the feather."""
    mesh = sheets(1, SQUARE, (Piece("a"),), [0, 0])
    strip = np.float32([[x, 0, z] for x in (-1, 0, 1) for z in (-0.5, 0.5)])
    faces = np.array([[0, 2, 3], [0, 3, 1], [2, 4, 5], [2, 5, 3]], np.int32)
    uvs = (strip[faces][..., [0, 2]] + [1, 0.5]) / [2, 1]
    white = Mask(np.float32([[0] * 3, [0] * 3, [1] * 3, [1] * 3]))
    mesh = with_look(Mesh(strip, faces, None, uvs.astype(np.float32)), np.full((64, 64, 3), 200, np.uint8))
    albedo, _ = painted(replace(mesh, mask=white), feather=0.5 * PLACEMENT.scale)  # half of the second square
    row = albedo[32, :, 0].astype(int)
    assert (row[:32] == 200).all() and (np.diff(row[32:48]) <= 0).all() and 80 < row[39:41].mean() < 120 and (row[50:] == 0).all()


def test_an_image_of_another_size_is_a_mask_by_the_uvs() -> None:
    mesh = with_look(sheets(1, SQUARE, (Piece("a"),), [0, 0]), noise(3))
    halves = np.zeros((8, 16), np.uint8)
    halves[:, 8:] = 255
    albedo, _ = painted(replace(mesh, mask=Mask(np.ones((2, 3), np.float32), halves, mesh.uvs)))
    assert (albedo[:, 18:30] == 0).all() and np.array_equal(albedo[:, 2:14], noise(3)[:, 2:14])


def test_a_mesh_without_a_picture_keeps_its_vertex_colours() -> None:
    shape = sheets(2, np.concatenate([SQUARE / 2, np.add(SQUARE / 2, 0.5)]), (Piece("a"),), [0] * 4)
    colours = np.repeat(np.float32([[0.2, 0.4, 0.6], [0.8, 0.1, 0.1]]), 4, axis=0)
    mesh = replace(shape, colours=colours, mask=Mask(np.repeat(np.float32([[0], [0], [1], [1]]), 3, axis=1)))
    albedo, _ = painted(mesh)
    assert albedo.shape == (64, 64, 3) and (albedo[40:60, 4:28] == np.rint(np.float32([51, 102, 153]))).all()
    assert (albedo[4:28, 36:60] == 0).all()


def test_views_see_what_is_not_painted_as_it_was() -> None:
    mesh = sheets(2, np.concatenate([SQUARE, SQUARE]), (Piece("a"),), [0] * 4)
    placement = SceneNormalization.of_bounds(mesh.vertices)
    local = replace(mesh.mapped(placement.to_engine), mask=Mask(np.repeat(np.float32([[0], [0], [1], [1]]), 3, axis=1)))
    field = ColourField(8)
    seen = MaskedColours(field, local, Feather(local, 0.0))
    with torch.no_grad():
        field.grids[0].fill_(5)
    left, right = (torch.tensor([[x, 0.0, 0.0]]) for x in (-0.6, 0.6))
    assert torch.allclose(seen(left), torch.full((1, 3), 0.5), atol=0.01) and seen(right).min() > 0.98
    seen(left).sum().backward()
    assert field.grids[0].grad is not None and field.grids[0].grad.abs().max() == 0  # nothing is learnt there
    assert set(seen.state_dict()) == {f"field.{name}" for name in field.state_dict()}


@pytest.mark.parametrize(
    ("paint", "name", "code"),
    [("faces", None, "bad_setting"), ("group", "Top", "bad_setting"), ("slots", "legs", "unknown_part"), ("slots", None, "unknown_part"),
     ("colour", None, "no_mask"), ("image", "no such.png", "cannot_read")],
)  # fmt: skip
def test_a_mask_that_cannot_be_had_is_refused(paint: str, name: str | None, code: str) -> None:
    with pytest.raises(InputError) as caught:
        requested(multi_part(), paint, name)
    assert caught.value.code == code


def test_masks_by_slots_images_and_vertex_colours(tmp_path: Path) -> None:
    mesh = requested(multi_part(), "slots", "b, C")
    assert mesh.mask is not None and mesh.mask.corners[:, 0].tolist() == [0, 0, 1, 1, 1, 1]
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer, format="PNG")
    (tmp_path / "black.png").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="paints nothing"):
        requested(multi_part(), "image", str(tmp_path / "black.png"))
    vertex = np.ones((18, 4))
    vertex[:9, :3] = 0
    flat = np.arange(18).reshape(-1, 3)
    coloured = replace(multi_part(), look=Look(np.zeros(6, int), flat, (Appearance(vertex=vertex),)))
    masked = requested(coloured, "colour", None)
    assert masked.mask is not None and masked.mask.corners[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert requested(masked, "all", None) is masked


def test_prompts_of_parts_are_read_or_refused() -> None:
    pieces = (Piece("Chair", "Oak"), Piece("Chair", "Velvet"), Piece("Table", "Oak"))
    assert prompts_of_parts("oak: dark wood; chair/velvet: green: soft;", pieces) == [("dark wood", [0, 2]), ("green: soft", [1])]
    for text, code in (("legs: oak", "unknown_part"), ("oak", "bad_setting"), ("oak:", "bad_setting")):
        with pytest.raises(InputError) as caught:
            prompts_of_parts(text, pieces)
        assert caught.value.code == code


def test_a_part_shows_where_its_faces_are_seen() -> None:
    from engine.camera import orbit
    from engine.render.base import select_rasterizer

    mesh = multi_part()
    placement = SceneNormalization.of_bounds(mesh.vertices)
    parts = PartPrompts.of([("oak", [0]), ("velvet", [2])], torch.from_numpy(mesh.parts.of_face).long())
    cameras = orbit([0.0, 180.0], 0.0, 3.0, 40.0)
    vertices = torch.from_numpy(placement.to_engine(mesh.vertices))
    shares = parts.weights(select_rasterizer(torch.device("cpu")), cameras, vertices, torch.from_numpy(mesh.faces), 32)
    assert shares.shape == (2, 2, 32, 32) and shares.max() == 1
    columns = [[float((one * torch.arange(32.0)).sum() / one.sum()) for one in view] for view in shares]
    assert columns[0][0] < 12 and columns[0][1] > 19 and columns[1][0] > 19 and columns[1][1] < 12  # left and right change places behind


class Told:
    """A prior whose estimate is the number that its prompt says, all over the image."""

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, prompts: list[str], cameras: object = None) -> Conditions:
        del cameras
        return Conditions(tuple(prompts), torch.tensor([[float(prompt or 0)] for prompt in prompts]))

    def predict_noise(self, x_t: torch.Tensor, t: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        del t
        self.calls += 1
        return conditions.data.view(-1, 1, 1, 1).expand_as(x_t).clone()


def test_estimates_of_parts_are_masked_in_one_batch() -> None:
    prior = Told()
    pair = ConditionPair(prior.embed(["1"]), prior.embed(["2"]))
    share = torch.zeros(2, 1, 8, 8)
    share[:, :, :, 4:] = 1
    pair = replace(pair, regions=(Region(share, ConditionPair(prior.embed(["5"]), prior.embed(["6"]))),))
    clean = torch.zeros(2, 3, 4, 4)
    noised = Noised(clean, torch.zeros(2, dtype=torch.long), clean, clean)
    of = predict_roles(prior, GuidanceSettings("calibrated"), noised, pair, None)  # type: ignore[arg-type]
    assert prior.calls == 1
    assert of["target"][0, 0, 0].tolist() == [1, 1, 5, 5] and of["source"][1, 2, 3].tolist() == [2, 2, 6, 6]


def test_a_texture_to_start_from_is_the_look_and_skips_stage_one(tmp_path: Path) -> None:
    for number, shade in ((1001, 40), (1002, 120), (1011, 200)):
        Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(tmp_path / f"t.{number}.png")
    mesh = with_start(udim(), str(tmp_path / "t.<UDIM>.png"))
    assert mesh.paint is not None and mesh.look is not None
    shades = mesh.look.at(np.arange(6), np.full((6, 3), 1 / 3))[:, 0] * 255
    np.testing.assert_allclose(shades, [40, 40, 120, 120, 200, 200], atol=0.01)
    with pytest.raises(InputError, match="nothing to start from"):
        with_start(udim(), "own")
    with pytest.raises(InputError, match=r"cannot be read|no file"):
        with_start(multi_part(), str(tmp_path / "lost.png"))
    numbers = JobSettings("rusty", mode="texture", init_texture="own", strength=0.5).resolve()
    plain = JobSettings("rusty", mode="texture").resolve()
    assert numbers.stage1_steps == 0 < plain.stage1_steps
    assert numbers.t_high == pytest.approx((plain.t_low + plain.t_high) / 2)
    assert JobSettings("rusty", init_texture="own").resolve() == plain  # refine knows no such start


SMALL = {"colour_grid": 16, "views": 2, "supersample": 1, "stage1_steps": 2, "stage2_steps": 1, "texture_size": 32}


@pytest.mark.slow
def test_each_variation_is_the_job_with_its_seed_and_the_model_is_loaded_once(tmp_path: Path) -> None:
    from engine.diffusion.load import load_prior
    from engine.job import run_job
    from engine.results import write_result

    sketch = replace(multi_part(), uvs=None)  # which has to be unwrapped
    settings = {"prompt": "a red mug", "mode": "texture", "seed": 5, "overrides": SMALL, "device": "cpu"}
    loads: list[object] = []

    def load(*what: object, **more: object) -> object:
        loads.append(what)
        return load_prior(*what, **more)  # type: ignore[arg-type]

    reporter = QuietReporter()
    result = run_job(sketch, JobSettings.from_dict({**settings, "variations": 2}), reporter, load=load)  # type: ignore[arg-type]
    (other,) = result.variations
    alone = run_job(sketch, JobSettings.from_dict({**settings, "seed": 6}), QuietReporter())
    assert len(loads) == 1 and len(set(reporter.notes)) == len(reporter.notes)
    for one, expected in zip(other.images, alone.images, strict=True):
        assert np.array_equal(one.tiles[FIRST_TILE]["albedo"], expected.tiles[FIRST_TILE]["albedo"])
    assert np.array_equal(other.mesh.uvs, alone.mesh.uvs) and not np.array_equal(result.maps["albedo"], other.maps["albedo"])
    names = [path.name for path in write_result(result, sketch, tmp_path, "x")]
    assert names == ["x.glb", "x.png", "x.json", "x-2.glb", "x-2.json"]
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.height == 3 * 278
