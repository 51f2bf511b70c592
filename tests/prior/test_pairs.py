"""Pairs: a subject is built again from its name, cameras and controls fit the pictures, coarse surfaces are near the true ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import KDTree

from engine.camera import orbit
from engine.conventions import SceneNormalization
from engine.mesh import Mesh
from engine.render.base import select_rasterizer
from engine.render.control import geometry_control
from scripts.prior.data import buffers, draw_pairs, pairs
from scripts.prior.data.coarse import coarse_sketch, coarse_surface
from scripts.prior.data.make_buffers import main as make_missing_buffers
from scripts.prior.surface import dataset, wording
from scripts.prior.surface.attention import SpokenParts
from scripts.prior.tokenizer import write_tokenizer
from scripts.prior.training import TrainingSettings

HOUSE = pairs.subject_name(1, list(pairs.KINDS).index("house"))
AT_FRONT = [[1.0, 0.0, 0.0, 0.1], [0.0, 0.0, -1.0, -2.0], [0.0, 1.0, 0.0, 0.4], [0.0, 0.0, 0.0, 1.0]]
"""A camera before the house that looks along +y, Blender's axes."""


def pair_of(file: str = "house.webp", **changes) -> pairs.Pair:
    values = {"subject": HOUSE, "file": file, "caption": "a white house", "background": "on sand", "view": "front", "kind": "house"}
    return pairs.Pair(**{**values, "world": AT_FRONT, "looks": {"roof": "brown"}, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One pair of a house, with its buffers made by the command."""
    path = tmp_path_factory.mktemp("pairs")
    Image.new("RGB", (192, 192), (200, 150, 100)).save(path / "house.webp")
    line = pairs.as_line(pair_of())
    (path / "pairs-1-0.jsonl").write_text(line + line[: len(line) // 2], encoding="utf-8")  # its last line is cut
    make_missing_buffers([str(path)])
    return path


@pytest.fixture(scope="module")
def spoken_parts(tmp_path_factory):
    """Of a tokenizer that knows the words of houses."""
    described = wording.made_up(("house",), 8, 0)
    words = wording.all_words(wording.as_records(described, list(dataset.RENDERED_BACKGROUNDS)), described)
    return SpokenParts(write_tokenizer(words, tmp_path_factory.mktemp("words")))


def test_a_subject_is_built_again_from_its_name():
    kind, parts, subject = pairs.build_subject(HOUSE)
    again = pairs.triangles(pairs.build_subject(HOUSE)[1])
    v, f, part = pairs.triangles(parts)
    assert kind == "house" and "house" in subject.caption
    assert all(np.array_equal(one, two) for one, two in zip((v, f, part), again, strict=True))
    assert f.max() == len(v) - 1 and set(part) == set(range(len(parts)))


def test_a_share_of_the_subjects_is_kept_for_judging():
    held = sum(pairs.is_held_out(pairs.subject_name(41, index)) for index in range(1900))
    assert held == pytest.approx(100, abs=2)


def test_a_place_is_seen_where_blenders_camera_sees_it():
    _, parts, _ = pairs.build_subject(HOUSE)
    v = pairs.triangles(parts)[0]
    normalization = SceneNormalization.of_bounds(v)
    cameras = buffers.cameras_of([pair_of()], normalization)
    place = np.array([[0.2, 0.1, 0.3]], np.float32)
    x, y, _, w = cameras.clip(torch.from_numpy(normalization.to_engine(place)))[0, 0].tolist()
    depth = 0.1 - -2.0
    assert x / w == pytest.approx((0.2 - 0.1) / depth * 50 / 18, abs=1e-4)  # 50 mm before half of 36 mm
    assert y / w == pytest.approx((0.3 - 0.4) / depth * 50 / 18, abs=1e-4)


def test_a_control_shows_normals_in_eye_axes_and_nearness():
    angle = torch.linspace(0, 2 * torch.pi, 65)[:-1]
    rows = torch.linspace(0, torch.pi, 33)
    points = 0.5 * torch.stack(
        [(rows.sin()[:, None] * angle.cos()), (rows.sin()[:, None] * angle.sin()), rows.cos()[:, None].expand(33, 64)], dim=-1
    ).reshape(-1, 3)
    a = torch.arange(32 * 64).reshape(32, 64)
    b = a.roll(-1, 1)
    faces = torch.stack([torch.stack([a, a + 64, b + 64], -1), torch.stack([a, b + 64, b], -1)]).reshape(-1, 3).int()

    control = geometry_control(select_rasterizer("cpu"), points.requires_grad_(), faces, orbit([30.0, 200.0], [10.0, 60.0], 3.0, 40.0), 64)
    assert control.shape == (2, 5, 64, 64) and not control.requires_grad
    middle = control[:, :, 31:33, 31:33].mean((2, 3))
    assert torch.allclose(middle, torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5]).expand(2, 5), atol=0.03)
    assert (control[:, 0, 32, 40] > 0.3).all() and (control[:, 1, 24, 32] > 0.3).all()  # right and above
    assert (control[:, :, 0] == 0).all()


def test_a_control_is_stored_to_a_hundredth_and_nothing_stays_nothing():
    control = torch.rand(2, 5, 8, 8) * 2 - 1
    control[0] = 0
    again = buffers.unpack_control(torch.from_numpy(buffers.pack_control(control)))
    assert (again - control).abs().max() < 0.01
    assert (again[0] == 0).all()


def test_the_mirrored_control_is_that_of_the_mirrored_surface():
    _, parts, _ = pairs.build_subject(pairs.subject_name(1, list(pairs.KINDS).index("teapot")))
    v, f, _ = pairs.triangles(parts)
    v = SceneNormalization.of_bounds(v).to_engine(v)

    camera, rasterizer = orbit([0.0], 20.0, 3.2, 40.0), select_rasterizer("cpu")

    def seen(vertices: np.ndarray, faces: np.ndarray) -> torch.Tensor:
        return geometry_control(rasterizer, torch.from_numpy(vertices), torch.from_numpy(faces), camera, 48)[0]

    mirror = seen(np.ascontiguousarray(v * np.array([-1, 1, 1], np.float32)), np.ascontiguousarray(f[:, ::-1]))
    assert (dataset.mirrored(seen(v, f)) - mirror).abs().mean() < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_a_coarse_surface_is_near_the_true_one(seed):
    _, parts, _ = pairs.build_subject(HOUSE)
    v, f, part = pairs.triangles(parts)
    normalization = SceneNormalization.of_bounds(v)
    coarse = coarse_surface(v, f, part, normalization, np.random.default_rng(seed))
    sketch = coarse_sketch(normalization.to_engine(v), f, part, np.random.default_rng(100 + seed))
    assert isinstance(sketch, Mesh) and len(sketch.faces) and len(coarse.faces) > 500
    distance = KDTree(normalization.to_engine(v)[f].reshape(-1, 3, 3).mean(axis=1)).query(coarse.vertices)[0]
    assert np.median(distance) < 0.25 and np.abs(coarse.vertices).max() < 1


def test_buffers_hold_what_each_camera_saw(folder):
    stored = np.load(folder / f"{HOUSE}.buffers.npz")
    assert stored["coarse"].shape == stored["true"].shape == (1, 5, buffers.SIZE, buffers.SIZE)
    assert stored["shaded"].shape == (1, buffers.PAINTS, 3, buffers.SIZE, buffers.SIZE)
    assert stored["owner"].shape == (1, 2, buffers.SIZE, buffers.SIZE)
    for paint in range(buffers.PAINTS):
        surface = "coarse" if paint < buffers.PAINTS // 2 else "true"
        covered = stored[surface][0, dataset.MASK] > 250
        lit = stored["shaded"][0, paint].max(axis=0) > 0
        assert lit[covered].mean() > 0.98 and lit[~(stored[surface][0, dataset.MASK] > 129)].mean() < 0.02


def test_subjects_with_buffers_become_views_and_the_rest_is_passed_over(folder):
    views = dataset.load_views([folder], held_out=pairs.is_held_out(HOUSE))
    assert len(views) == 1 and len(views[0].said) == buffers.PAINTS + 1
    assert views[0].said[-1].looks == {"roof": "brown"}
    assert dataset.load_views([folder], kinds={"apple"}, held_out=pairs.is_held_out(HOUSE)) == []
    assert dataset.load_views([folder], {HOUSE}, held_out=pairs.is_held_out(HOUSE)) == []


def test_samples_are_what_the_network_takes(folder, spoken_parts):
    view = dataset.load_views([folder], held_out=pairs.is_held_out(HOUSE))[0]
    settings = TrainingSettings(clean_share=0.6)
    rng = np.random.default_rng(0)
    drawn = [dataset.draw_sample(view, settings, spoken_parts, rng) for _ in range(40)]
    for one in drawn:
        assert one.picture.shape == (3, 64, 64) and one.control.shape == (5, 64, 64)
        assert one.picture.abs().max() <= 1.001 and one.control.abs().max() <= 1.02
        assert one.caption == "" or "house" in one.caption
        assert one.spoken.shape == (16, 16, 64) and (one.caption or not one.spoken.any())
    assert 0 < sum(one.caption == "" for one in drawn) < 15
    told = [one for one in drawn if "roof" in one.caption]
    assert any(one.spoken.any(-1).float().mean() > 0.02 for one in told)
    assert any("close up" in one.caption for one in drawn) and any("oversaturated" in one.caption for one in drawn)
    clean = [dataset.draw_sample(view, dataclasses.replace(settings, clean_share=1.0), spoken_parts, rng) for _ in range(10)]
    assert not any("blurry" in one.caption for one in clean)


@pytest.mark.parametrize("azimuth_word", ["front", "side", "back", "overhead"])
def test_random_views_look_at_the_subject_and_are_called_rightly(azimuth_word):
    rng = np.random.default_rng(0)
    views = [draw_pairs.random_view(1.0, 0.4, rng) for _ in range(300)]
    chosen = [np.array(world) for world, word in views if word == azimuth_word]
    assert chosen
    for world in chosen:
        assert np.allclose(world[:3, :3].T @ world[:3, :3], np.eye(3), atol=1e-6) and np.linalg.det(world[:3, :3]) > 0
        middle = np.linalg.inv(world) @ np.array([0, 0, 0.5, 1])
        assert np.allclose(middle[:2], 0, atol=1e-6) and middle[2] < -1.5  # straight ahead
        assert world[2, 1] >= 0  # upright
    mean = np.mean([world[:3, 3] for world in chosen], axis=0)
    assert {"front": mean[1] < -1, "back": mean[1] > 1, "side": abs(mean[1]) < 0.5, "overhead": mean[2] > 1.5}[azimuth_word]


def test_pairs_are_drawn_without_blender_and_go_on_where_they_were_ended(tmp_path):
    index = list(pairs.KINDS).index("mug")
    wanted = ["--out", str(tmp_path), "--count", str(index + 1), "--seed", "7", "--kinds", "mug"]
    draw_pairs.main(wanted)
    name = pairs.subject_name(7, index)
    made = pairs.read_pairs(tmp_path)
    assert [pair.subject for pair in made] == [name] * draw_pairs.VIEWS
    views = dataset.load_views([tmp_path], held_out=pairs.is_held_out(name))
    for view in views:
        assert view.said[-1] == view.said[-2]  # the last of the repainted pictures, before a background
        covered = view.true[dataset.MASK] == 255
        difference = (view.rendered.float() - view.shaded[-1].float()).abs().mean(0)[covered]
        assert difference.mean() < 12 and view.rendered[:, :4, :4].float().mean() > 60
    before = (tmp_path / f"{name}_0.webp").stat().st_mtime_ns
    draw_pairs.main(wanted)
    assert (tmp_path / f"{name}_0.webp").stat().st_mtime_ns == before and len(pairs.read_pairs(tmp_path)) == draw_pairs.VIEWS
