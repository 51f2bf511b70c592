"""Text to 3D: rays against closed forms, a known object from the exact score of its views, clouds that show nothing, and the command."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from engine import messages
from engine.camera import Cameras, orbit
from engine.checkpoint import Checkpoint
from engine.cli import main
from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
from engine.diffusion.prior import Prior
from engine.distillation import DROPPED_AT_MOST, PromptPair
from engine.dream.cloud import BLOB, Cloud, Ground, lattice
from engine.dream.dream import Dream, fault
from engine.dream.rays import directions, look, occupied
from engine.dream.run import dreamt, refuse_control, run_dream, views_of_a_step
from engine.dream.shape import mesh_of
from engine.dream_fields import OVERHEAD, VIEWS, DreamNumbers
from engine.errors import Cancelled, InputError, JobError, ModelError, SketchbridgeError
from engine.job_fields import JobSettings
from engine.pictures import write_image
from engine.render.base import select_rasterizer
from engine.reporting import QuietReporter, StageTimer
from engine.server import DEFAULT_JOB
from engine.sketch.deviation import deviation
from engine.stages import Stage
from engine.view_batch import ViewBatch, sample_view_batch
from engine.wire_job import WireReporter, outcome
from tests.engine import test_loop_oracle as oracle

SMALL = DreamNumbers(dream_steps=30, dream_steps2=4, dream_views=2, dream_grid=16, dream_size=12, dream_samples=16, dream_guidance=1.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ball(density: float, radius: float, resolution: int = 64) -> Cloud:
    """A cloud that is evenly dense in a ball and nothing around it."""
    cloud = Cloud(resolution, seeded(), noise=0.0)
    wanted = torch.where(lattice(resolution).norm(dim=-1) < radius, math.log(math.expm1(density)), -30.0)
    with torch.no_grad():
        cloud.levels[-1][0] = wanted - cloud.blob.clamp(min=-50)
    return cloud


def test_rays_go_through_the_middles_of_their_pixels() -> None:
    cameras, size = orbit([0.0, 70.0], [10.0, -20.0], [3.0, 2.5], 40.0), 8
    ahead = cameras.eye[:, None] + 2.0 * directions(cameras, size)
    for camera in range(2):
        clip = cameras.select([camera]).clip(ahead[camera])[0]
        across, up = (clip[:, :2] / clip[:, 3:]).T.view(2, size, size)
        middles = (2 * torch.arange(size) + 1) / size - 1
        assert torch.allclose(across, middles.expand(size, size), atol=1e-4)
        assert torch.allclose(up, -middles[:, None].expand(size, size), atol=1e-4)  # row 0 is at the top


@torch.no_grad()
def test_an_even_ball_stops_the_light_that_its_chords_say() -> None:
    density, radius = 1.5, 0.6
    camera = orbit([0.0], [0.0], 3.0, 40.0)
    opacity = look(ball(density, radius), Ground(), camera, torch.ones(1, 3), 33, 256).opacity[0, 0]
    nearest = torch.linalg.cross(camera.eye.expand(33 * 33, 3), directions(camera, 33)[0]).norm(dim=1).view(33, 33)
    chord = 2 * (radius**2 - nearest.square()).clamp(min=0).sqrt()
    assert float((opacity - (1 - torch.exp(-density * chord))).abs().mean()) < 0.02
    assert abs(float(opacity[16, 16]) - (1 - math.exp(-density * 2 * radius))) < 0.03


@torch.no_grad()
def test_a_shadow_lies_on_the_floor_below_and_nowhere_else() -> None:
    ground = Ground(tint=0.0)
    ground.shadow[0] = 2.0
    camera, plain = orbit([0.0], [50.0], 3.0, 40.0), torch.full((1, 3), 0.8)
    aims = torch.tensor([[0.0, 0.0, -float(ground.floor)], [0.0, 3.0, -float(ground.floor)], [0.0, 3.0, 5.0]])
    seen = ground(plain, camera.eye, torch.nn.functional.normalize(aims - camera.eye, dim=1)[None])[0, :, 0]
    assert abs(float(seen[0]) - 0.8 * (1 - 0.8 * torch.tensor(2.0).sigmoid())) < 1e-3  # the middle of the shadow
    assert torch.allclose(seen[1:], torch.tensor(0.8), atol=1e-3)  # far out on the floor, and the sky


def test_passing_over_empty_places_changes_no_picture() -> None:
    cloud, camera = Cloud(32, seeded()), orbit([30.0], [15.0], 3.0, 40.0)
    somewhere = occupied(cloud)
    assert 0.01 < float(somewhere.float().mean()) < 0.5
    whole, pruned = (look(cloud, Ground(), camera, torch.ones(1, 3), 16, 64, somewhere=which) for which in (None, somewhere))
    assert float((whole.rgb - pruned.rgb).abs().max()) < 5e-3


def test_normals_point_out_of_a_ball_and_none_faces_away() -> None:
    cloud = Cloud(32, seeded(), noise=0.0)
    points = lattice(32)
    inside = (points.norm(dim=-1) > 0.3) & (points.norm(dim=-1) < BLOB)
    normal = cloud.volume()[4:].permute(1, 2, 3, 0)[inside]
    assert float((normal * points[inside] / points[inside].norm(dim=1, keepdim=True)).sum(1).min()) > 0.95


@torch.no_grad()
def test_faces_that_look_away_are_counted_where_they_can_be_seen() -> None:
    cloud, camera = Cloud(32, seeded(), noise=0.0), orbit([0.0], [0.0], 3.0, 40.0)
    fog = look(cloud, Ground(), camera, torch.ones(1, 3), 16, 96).turned_away.item()
    cloud.levels[-1][0] += 5 * cloud.blob.clamp(min=-20)  # the same ball with a steep edge: its far side is hidden
    firm = look(cloud, Ground(), camera, torch.ones(1, 3), 16, 96).turned_away.item()
    assert 0 < firm < 0.6 * fog


@pytest.mark.parametrize(("raw", "found"), [(-30.0, "empty"), (0.0, None), (60.0, "solid")])
def test_clouds_that_show_nothing_are_known(raw: float, found: str | None) -> None:
    cloud = Cloud(32, seeded())
    with torch.no_grad():
        cloud.levels[0][0] += raw
    assert fault(cloud) == found


def known_views() -> tuple[list[ImageLabel], Cameras, Tensor]:
    """Views [48, 3, S, S] of a coloured ellipsoid, their cameras, and labels that say those."""
    cameras = oracle.pool(48, seed=1)
    with torch.no_grad():
        images = oracle.look(torch.from_numpy(oracle.TRUTH.vertices), torch.from_numpy(oracle.TRUTH.faces), oracle.stripes, cameras)
    angles = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)
    return [ImageLabel("a ball", None, azimuth, elevation) for azimuth, elevation in angles], cameras, images


def known_object() -> tuple[EmpiricalPrior, Cameras]:
    """The exact score of the views of a coloured ellipsoid, one a camera."""
    labels, cameras, images = known_views()
    return EmpiricalPrior(images, labels, nearest=1), cameras


def dream_of(prior: EmpiricalPrior, cameras: Cameras, numbers: DreamNumbers, seed: int = 0) -> Dream:
    def draw(generator: torch.Generator) -> ViewBatch:
        chosen = torch.randperm(len(cameras), generator=generator)[: numbers.dream_views]
        grey = torch.full((numbers.dream_views, 3), oracle.GREY)
        return ViewBatch(cameras.select(chosen), None, grey, [""] * numbers.dream_views)

    return Dream(prior, PromptPair("a ball", method="anchored"), numbers, draw, seeded(seed))


@pytest.mark.slow
def test_a_dream_finds_a_known_object_from_nothing_but_the_score_of_its_views() -> None:
    prior, cameras = known_object()
    numbers = DreamNumbers(dream_steps=160, dream_steps2=0, dream_grid=32, dream_size=24, dream_samples=32, dream_guidance=1.0,
                           dream_opacity=0.02, dream_orientation=0.1, dream_t_high=0.75)  # fmt: skip
    dream = dream_of(prior, cameras, numbers)
    rasterizer, unseen = select_rasterizer("cpu"), oracle.pool(8, seed=2)

    def far_off() -> float:
        mesh, _ = mesh_of(dream.cloud, dream.ground, rasterizer, 32)
        return deviation(mesh.vertices, mesh.faces, oracle.TRUTH, np.random.default_rng(0)).mean_percent

    start = far_off()
    while not dream.finished:
        dream.step()
    end = far_off()
    goal = oracle.look(torch.from_numpy(oracle.TRUTH.vertices), torch.from_numpy(oracle.TRUTH.faces), oracle.stripes, unseen)
    seen = look(dream.cloud, dream.ground, unseen, torch.full((8, 3), oracle.GREY), oracle.SIZE, 64).rgb.detach()
    likeness = oracle.psnr(seen, goal)
    print(f"\ndream's oracle: distance {start:.2f} -> {end:.2f} % of the diagonal, PSNR of unseen views {likeness:.1f} dB")
    assert end < 0.5 * start and end < 2.5
    assert likeness > 18.0


def test_a_dream_that_is_taken_up_again_is_the_unbroken_one() -> None:
    prior, cameras = known_object()
    whole, first, second = (dream_of(prior, cameras, SMALL) for _ in range(3))
    for _ in range(6):
        whole.step()
    for _ in range(3):
        first.step()
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.step()
    assert all(torch.equal(a, b) for a, b in zip(whole.cloud.state_dict().values(), second.cloud.state_dict().values(), strict=True))
    assert torch.equal(whole.ground.weights, second.ground.weights)


def test_an_empty_dream_starts_again_with_other_seeds_and_says_so(tmp_path: Path) -> None:
    prior, cameras = known_object()
    numbers = DreamNumbers(**{**vars(SMALL), "dream_steps": 200, "dream_opacity": 900.0, "dream_rate": 0.5})
    reporter, begun = QuietReporter(), []

    def begin(attempt: int) -> Dream:
        begun.append(attempt)
        return dream_of(prior, cameras, numbers, attempt)

    timer = StageTimer(reporter, {Stage.DREAM: 1.0})
    timer.start(Stage.DREAM)
    with Checkpoint(None, "", reporter.note) as kept, pytest.raises(JobError) as raised:
        dreamt(begin, 2, 7, timer, kept, reporter)
    assert raised.value.code == "empty_dream" and begun == [0, 1]
    assert "seed 7 went empty" in reporter.notes[0] and "again with the seed 8" in reporter.notes[0]


def test_a_solid_dream_starts_again_and_the_next_one_is_taken() -> None:
    prior, cameras = known_object()
    numbers = DreamNumbers(**{**vars(SMALL), "dream_steps": 4, "dream_steps2": 0})
    reporter = QuietReporter()

    def begin(attempt: int) -> Dream:
        dream = dream_of(prior, cameras, numbers, attempt)
        if attempt == 0:
            with torch.no_grad():
                dream.cloud.levels[0][0] += 60.0
        return dream

    timer = StageTimer(reporter, {Stage.DREAM: 1.0})
    timer.start(Stage.DREAM)
    with Checkpoint(None, "", reporter.note) as kept:
        dream, attempt = dreamt(begin, 2, 7, timer, kept, reporter)
    assert attempt == 1 and dream.finished and fault(dream.cloud) is None
    assert reporter.notes == ["The dream of seed 7 went solid by step 4. It starts again with the seed 8."]


def test_a_dream_is_kept_and_ends_within_a_step_when_it_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prior, cameras = known_object()
    monkeypatch.setattr("engine.checkpoint.INTERVAL_SECONDS", 0.0)  # saved at every step, not every 20 s
    monkeypatch.setattr("engine.checkpoint.MOST_OF_THE_TIME", 1e9)

    class Leaves(QuietReporter):
        steps = 0

        def progress(self, stage: str, step: int, total: int, seconds_left: float | None, figures: dict[str, float]) -> None:
            self.steps = step

        def cancelled(self) -> bool:
            return self.steps >= 5

    reporter, path = Leaves(), tmp_path / "dream.checkpoint"
    timer = StageTimer(reporter, {Stage.DREAM: 1.0})
    timer.start(Stage.DREAM)
    with Checkpoint(path, "one", reporter.note) as kept, pytest.raises(Cancelled):
        kept._interval = 0.0
        dreamt(lambda attempt: dream_of(prior, cameras, SMALL, attempt), 1, 0, timer, kept, reporter)
    reporter = QuietReporter()
    timer = StageTimer(reporter, {Stage.DREAM: 1.0})
    timer.start(Stage.DREAM)
    with Checkpoint(path, "one", reporter.note) as kept:
        dream, attempt = dreamt(lambda attempt: dream_of(prior, cameras, SMALL, attempt), 1, 0, timer, kept, reporter)
    assert dream.finished and attempt == 0
    assert reporter.notes == ["Resumed after step 5 of the dream."]


def test_a_model_that_answers_with_nan_changes_nothing_and_ends_the_dream() -> None:
    prior, cameras = known_object()
    dream = dream_of(prior, cameras, SMALL)
    before = {name: value.clone() for name, value in dream.cloud.state_dict().items()}
    prior.predict_noise = lambda x_t, t, conditions: torch.full_like(x_t, torch.nan)  # type: ignore[method-assign]
    with pytest.raises(JobError, match="not finite"):
        for _ in range(DROPPED_AT_MOST):
            dream.step()
    assert all(torch.equal(value, before[name]) for name, value in dream.cloud.state_dict().items())


def test_what_cannot_be_dreamt_is_refused() -> None:
    with pytest.raises(InputError, match="dream_t_low"):
        DreamNumbers(dream_t_low=0.6, dream_t_end=0.5)
    with pytest.raises(InputError, match="Dream Grid"):
        DreamNumbers(dream_grid=2)
    with pytest.raises(InputError, match="at most dream_views, got 5 of 4"):
        DreamNumbers(dream_overhead=5)

    class Sees(EmpiricalPrior):
        control_channels, control_pictures = 5, 0

    with pytest.raises(ModelError, match="begins without one"):
        refuse_control(Sees(torch.rand(1, 3, 8, 8), [ImageLabel("a ball")]))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"overrides": {"stage2_method": "dds"}}, "no method 'dds' for jobs"),
        ({"lora": "no/such.safetensors"}, "is not there"),
        ({"dream": {"dream_views": 64, "dream_size": 512, "dream_samples": 1024, "dream_grid": 256}}, "The dream needs about .* of memory"),
        ({"texture_size": 8192}, "The job needs about .* of memory"),
    ],
)
def test_what_would_end_the_refinement_or_fills_the_memory_is_told_before_a_model_is_loaded(
    more: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> Prior:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("engine.room.free_bytes", lambda: 3 * 10**9)
    with pytest.raises(SketchbridgeError, match=told) as caught:
        run_dream(JobSettings("a ball", mode="dream", **more), QuietReporter(), tmp_path / "a.checkpoint", never)
    assert caught.value.fix and not list(tmp_path.iterdir())


def test_views_from_above_are_named_so_and_take_the_places_of_others() -> None:
    hyper = dataclasses.replace(JobSettings("a mug").resolve(), views=5, **VIEWS)
    device = torch.device("cpu")
    for seed in range(20):
        batch = views_of_a_step(hyper, 2, seeded(seed), device)
        elevation, words = batch.cameras.elevation, [words.split(", ")[-1] for words in batch.words]
        assert len(batch.cameras) == len(batch.background) == len(words) == 5
        assert [word == "overhead view" for word in words] == [False, False, False, True, True]
        assert float(elevation[:3].min()) >= VIEWS["elevation_low"] - 1e-3 and float(elevation[:3].max()) <= VIEWS["elevation_high"] + 1e-3
        assert float(elevation[3:].min()) >= OVERHEAD[0] - 1e-3 and float(elevation[3:].max()) <= OVERHEAD[1] + 1e-3
    assert all(words.endswith("overhead view") for words in views_of_a_step(hyper, 5, seeded(), device).words)
    assert torch.equal(views_of_a_step(hyper, 0, seeded(1), device).cameras.eye, sample_view_batch(hyper, seeded(1), device).cameras.eye)


def board_of_views(folder: Path) -> Path:
    """A folder of twelve views of the coloured ellipsoid with captions: a prior by itself."""
    _, cameras, images = known_views()
    folder.mkdir()
    lines = []
    for place in range(0, 48, 4):
        write_image(folder / f"{place}.png", images[place])
        angles = {"azimuth": float(cameras.azimuth[place]), "elevation": float(cameras.elevation[place])}
        lines.append(json.dumps({"file": f"{place}.png", "caption": "a striped ball", **angles}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


REFINED = {
    "grid": 24,
    "colour_grid": 16,
    "views": 2,
    "fit_steps": 2,
    "stage1_steps": 2,
    "stage2_steps": 2,
    "faces": 800,
    "texture_size": 64,
}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"control": "depth=BOARD"}, "takes no ControlNet"),
        ({"control": "depth=nowhere"}, "no folder 'nowhere'"),
        ({"overrides": {"stage2_method": "rfds"}}, "flow-matching"),
        ({"overrides": {"stage2_method": "nonsense"}}, "no method 'nonsense'"),
        ({"overrides": {"triangles": "even"}}, "PyMeshLab"),
        ({"overrides": {"isosurface": "kaolin"}}, "Kaolin"),
    ],
    ids=["control of no such model", "no control", "unserved method", "unknown method", "even triangles", "kaolin"],
)
def test_what_its_refinement_cannot_do_is_told_before_the_dream(
    asked: dict[str, object], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("pymeshlab", "kaolin"):
        monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    board = board_of_views(tmp_path / "board")
    given = {name: value.replace("BOARD", str(board)) if isinstance(value, str) else value for name, value in asked.items()}

    class Awake(QuietReporter):
        def progress(self, stage: str, *_: object) -> None:
            assert stage != Stage.DREAM.value, "it began to dream"

    with pytest.raises(SketchbridgeError, match=says):
        run_dream(JobSettings.from_dict({"prompt": "a ball", "mode": "dream", "model": str(board), "dream": vars(SMALL), **given}), Awake())


@pytest.mark.slow
def test_a_host_sees_the_cloud_grow_cancels_and_takes_the_dream_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode over the wire, by the function that the engine calls: messages, the checkpoint in the user's cache, its end."""
    monkeypatch.setenv("SKETCHBRIDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("engine.checkpoint.INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr("engine.checkpoint.MOST_OF_THE_TIME", 1e9)
    dream = {**vars(SMALL), "dream_steps": 8, "dream_steps2": 2}
    settings = {"prompt": "a ball", "mode": "dream", "model": str(board_of_views(tmp_path / "board")), "dream": dream, "overrides": REFINED}
    submit = messages.Submit("a", settings, np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    cancel, told = threading.Event(), []

    def hear(message: messages.Message) -> None:
        told.append(message)
        if isinstance(message, messages.Progress) and message.stage == "dream" and message.step == 5:
            cancel.set()

    def run() -> tuple[messages.Message, Callable[[], None]]:
        ticks = itertools.count()
        return outcome(submit, DEFAULT_JOB, WireReporter("a", hear, cancel, clock=lambda: float(next(ticks))))  # everything is sent

    assert run()[0] == messages.CancelledJob("a")
    assert {type(message) for message in told} >= {messages.Preview, messages.MeshUpdate, messages.Progress}
    surface = next(message for message in told if isinstance(message, messages.MeshUpdate))
    assert len(surface.faces) > 100 and np.abs(np.linalg.norm(surface.vertices, axis=1) - 0.4).max() < 0.2 and surface.colours is not None
    cancel, told = threading.Event(), []
    cancel.set = lambda: None  # type: ignore[method-assign]
    done, delivered = run()
    assert isinstance(done, messages.Done) and 50 < len(done.faces) <= 800 and done.report["mode"] == "dream"
    assert "Resumed after step 5 of the dream." in [message.text for message in told if isinstance(message, messages.Note)]
    kept = list((tmp_path / "cache").rglob("*.checkpoint"))
    assert len(kept) == 2, "the dream's and its refinement's, until the host has the result"
    delivered()
    assert not list((tmp_path / "cache").rglob("*.checkpoint"))


@pytest.mark.slow
def test_the_command_writes_a_model_a_turntable_and_a_sheet_and_tells_unknown_words_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = board_of_views(tmp_path / "board")
    words = [f"--{name.replace('_', '-')}={value}" for name, value in {**vars(SMALL), "dream_attempts": 1}.items()]
    words += [word for name, value in REFINED.items() for word in ("--set", f"{name}={value}")]
    assert main(["dream", "--prompt", "a zeppelin", "--model", str(board), "--out", str(tmp_path / "out"), *words]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dream.gif", "dream.glb", "dream.json", "dream.png"]
    assert Image.open(tmp_path / "out" / "dream.gif").n_frames == 24  # type: ignore[attr-defined]
    report = json.loads((tmp_path / "out" / "dream.json").read_text())
    assert report["dream"]["dream_steps"] == 30 and 0 < report["dream"]["outline_agreement"] <= 1
    told = capsys.readouterr().err
    assert told.index('"a zeppelin') < told.index("dream: 0/1")
