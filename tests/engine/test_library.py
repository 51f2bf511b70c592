"""The guidance in other people's pipelines: the examples run, the surface keeps its names, the adapters fit the interfaces they are for."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import engine.guidance
from engine.errors import InputError, JobError, ModelError
from engine.guidance import (
    BridgeSettings,
    ConditionPair,
    GuidanceSettings,
    Guide,
    GuidedPrompt,
    LoraSettings,
    distill,
    distill_latents,
    load_prior,
    sample,
)
from engine.pictures import write_image

ROOT = Path(__file__).resolve().parents[2]
OF_VERSION_1 = {
    "METHODS", "VERSION", "BridgeSettings", "ConditionPair", "Conditions", "ControlledPrior", "Estimates", "GuidanceSettings", "Guide",
    "GuidedPrompt", "LoraParticles", "LoraSettings", "Method", "NoiseSchedule", "Prior", "TwoStage", "bridge_direction", "distill",
    "distill_latents", "load_prior", "method_named", "methods_for", "sample", "source_prompt", "target_prompt",
}  # fmt: skip
"""Names that were promised with 1.0: one may go only with a new major version."""
GUIDE_OF_VERSION_1 = {
    "prior", "prompt", "source", "method", "steps", "switch", "scale", "first_scale", "weighting", "t_low", "t_high", "t_high_end", "seed",
}  # fmt: skip
LOSS_OF_VERSION_1 = {"images", "step", "words", "cameras", "control", "particles"}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of four plain pictures: the exact score of those, with no weights."""
    folder = tmp_path_factory.mktemp("board")
    for name, colour in {"red ball": (0.8, 0.1, 0.1), "green ball": (0.1, 0.6, 0.2), "red box": (0.6, 0.1, 0.1), "cup": (0.3,) * 3}.items():
        image = torch.ones(3, 64, 64)
        image[:, 16:48, 16:48] = torch.tensor(colour)[:, None, None]
        write_image(folder / f"{name}.png", image)
    return str(folder)


def started(path: Path, name: str) -> ModuleType:
    """A package from its folder, as a program that loads plugins does it."""
    spec = importlib.util.spec_from_file_location(name, path / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("example", "out"), [("bare_image", "image.png"), ("nerf_loop", "nerf.pt"), ("splats_loop", "splats.pt"), ("dmtet_loop", "mesh.obj")]
)
def test_the_examples_run(example: str, out: str, board: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--grid", "8"] if example == "dmtet_loop" else []
    main = runpy.run_path(str(ROOT / "examples" / "library" / f"{example}.py"))["main"]
    made = main(["--prompt", "a red ball", "--model", board, "--steps", "3", "--out", str(tmp_path / out), *small])
    assert (tmp_path / out).stat().st_size > 100
    assert "stage 1" in capsys.readouterr().out
    if example == "bare_image":
        assert torch.isfinite(made).all()


def test_a_bare_image_becomes_what_the_prompt_says(board: str, tmp_path: Path) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "library" / "bare_image.py"))["main"]
    raw = main(["--prompt", "a red ball", "--model", board, "--steps", "60", "--out", str(tmp_path / "image.png")])
    red, green, _ = raw.sigmoid()[0, :, 24:40, 24:40].mean((1, 2)).tolist()
    assert red > green + 0.3


def test_the_splats_of_the_example_hide_what_is_behind_them() -> None:
    """A red one before a green one, seen from both sides and from beside; where there is none the ground is white."""
    splats = runpy.run_path(str(ROOT / "examples" / "library" / "splats_loop.py"))["Splats"](2)
    with torch.no_grad():
        splats.places.copy_(torch.tensor([[0.0, -0.5, 0.0], [0.0, 0.5, 0.0]]))
        splats.radii.fill_(-2.0)
        splats.opacities.fill_(9.0)
        splats.colours.copy_(torch.tensor([[9.0, -9.0, -9.0], [-9.0, 9.0, -9.0]]))
        front, back, side = (splats(angle, 0.0, size=33) for angle in (0.0, 180.0, 90.0))
    assert front[16, 16].tolist() == pytest.approx([1, 0, 0], abs=0.01) and back[16, 16].tolist() == pytest.approx([0, 1, 0], abs=0.01)
    across = round(16 + 16 * (0.5 / 3) / 0.36)  # of the places beside the middle, by the focal length
    assert side[16, 32 - across].argmax() == 0 and side[16, across].argmax() == 1
    assert torch.allclose(side[0, 0], torch.ones(3), atol=1e-4)


def test_the_surface_has_every_name_that_was_promised() -> None:
    assert engine.guidance.VERSION.split(".")[0] == "1"
    assert set(engine.guidance.__all__) >= OF_VERSION_1
    assert all(getattr(engine.guidance, name) is not None for name in engine.guidance.__all__)
    assert set(inspect.signature(Guide).parameters) >= GUIDE_OF_VERSION_1
    assert set(inspect.signature(Guide.loss).parameters) >= LOSS_OF_VERSION_1
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = engine.guidance.no_such_thing


def test_a_guide_s_loss_is_distill_s_by_its_schedule(board: str) -> None:
    prior, images = load_prior(board), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    guide = Guide(prior, "a red ball", method="calibrated", steps=10, switch=0.5, scale=3.0, first_scale=2.0, seed=5)
    cameras = SimpleNamespace(azimuth=torch.tensor([0.0, 180.0]), elevation=torch.tensor([0.0, 0.0]))
    for step, method, scale in ((0, "sds", 2.0), (7, "calibrated", 3.0)):
        guide.generator.manual_seed(5)
        loss, figures = guide.loss(images, step, cameras=cameras)
        settings = dataclasses.replace(guide.plan.at(step)[1], method=method, scale=scale)
        told = [f"a red ball, {view} view" for view in ("front", "back")]
        source = [engine.guidance.source_prompt("a red ball", f"{view} view") for view in ("front", "back")]
        pair = ConditionPair(prior.embed(told, cameras), prior.embed(source, cameras))
        expected, _ = distill(prior, images, pair, settings, torch.Generator().manual_seed(5))
        assert isinstance(settings, GuidanceSettings) and float(loss) == float(expected) and figures["stage"] == (1 if step == 0 else 2)


def test_a_guide_refuses_what_cannot_work(board: str) -> None:
    prior = load_prior(board)
    with pytest.raises(InputError, match="no method 'magic'"):
        Guide(prior, "a ball", method="magic")
    with pytest.raises(InputError, match="switch"):
        Guide(prior, "a ball", switch=1.5)
    with pytest.raises(InputError, match="prompt is empty"):
        Guide(prior, " ")
    with pytest.raises(InputError, match="1 words for 2 images"):
        Guide(prior, "a ball").loss(torch.rand(2, 3, 64, 64), 0, words=["front view"])
    assert "None of the images" in Guide(prior, "a zeppelin").notes[0]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"steps": 2.5}, "2.5 steps"),
        ({"steps": "10"}, "10 steps"),
        ({"steps": 0}, "0 steps"),
        ({"scale": "big"}, "scale is big"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"switch": "late"}, "switch is late"),
        ({"seed": -1}, "Seed must be"),
        ({"seed": 2**80}, "Seed must be"),
        ({"seed": 1.5}, "Seed must be"),
        ({"t_high_end": 2.0}, "falls to 2.0"),
        ({"t_high_end": 0.01}, "falls to 0.01; expected a share above t_low = 0.02"),
        ({"t_high_end": float("nan")}, "falls to nan"),
        ({"prior": "embedded"}, "The prior is a str"),
        ({"prompt": None}, "must be text"),
    ],
)
def test_a_guide_refuses_at_once_what_would_end_it_later(board: str, more: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        Guide(**{"prior": load_prior(board), "prompt": "a ball", **more})
    assert caught.value.fix


PICTURES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (PICTURES.permute(0, 2, 3, 1), r"got float32 \[2, 64, 64, 3\]"),
        (PICTURES[0], r"got float32 \[3, 64, 64\]"),
        (PICTURES[:, :1], r"\[2, 1, 64, 64\]"),
        (PICTURES[:0], r"\[0, 3, 64, 64\]"),
        (PICTURES[..., :0], r"\[2, 3, 64, 0\]"),
        ((PICTURES * 255).byte(), "got uint8"),
        (PICTURES.to(torch.complex64), "got complex64"),
        (PICTURES.numpy(), "got a ndarray"),
        (None, "got a NoneType"),
        (PICTURES.to("meta"), "got some on meta"),
        (PICTURES * float("nan"), "not finite"),
    ],
    ids=["last", "one", "grey", "none", "flat", "bytes", "complex", "numpy", "nothing", "elsewhere", "nan"],
)
def test_images_that_cannot_be_are_told_by_what_was_expected(board: str, images: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        Guide(load_prior(board), "a red ball").loss(images, 0)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"step": -1}, "step is -1"),
        ({"step": float("nan")}, "step is nan"),
        ({"words": "ab"}, "1 words for 2 images"),
        ({"words": [None, None]}, "as many texts"),
        ({"cameras": SimpleNamespace(azimuth=torch.zeros(2), elevation=torch.zeros(3))}, "elevation must be a tensor of 2"),
        ({"cameras": SimpleNamespace(azimuth=torch.full((2,), torch.nan), elevation=torch.zeros(2))}, "azimuth must be"),
        ({"cameras": SimpleNamespace(azimuth=[0, 90], elevation=[0, 0])}, "azimuth must be"),
    ],
)
def test_what_belongs_to_images_is_checked_too(board: str, more: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Guide(load_prior(board), "a red ball").loss(PICTURES, **{"step": 0, **more})


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"timesteps": torch.tensor([5000, 5])}, "from 0 to 999"),
        ({"timesteps": torch.tensor([-1, 5])}, "from 0 to 999"),
        ({"timesteps": torch.tensor([5.0, 6.0])}, "must be int64"),
        ({"timesteps": torch.tensor([5])}, r"int64 \[2\]"),
        ({"timesteps": [5, 5]}, "must be int64"),
        ({"reference": torch.zeros(1)}, "reference must have the latents' shape"),
        ({"latents": PICTURES.long()}, "floating point"),
        ({"latents": PICTURES[:0]}, "floating point"),
    ],
)
def test_latents_and_what_belongs_to_them_are_checked(board: str, more: dict[str, Any], told: str) -> None:
    prior = load_prior(board)
    pair = ConditionPair(prior.embed(["a red ball"]))
    with pytest.raises(InputError, match=told):
        distill_latents(prior, prompts=pair, settings=GuidanceSettings("sds"), generator=torch.Generator(), **{"latents": PICTURES, **more})


def test_numbers_of_the_ode_and_of_adapters_are_checked(board: str) -> None:
    prior = load_prior(board)
    guided = GuidedPrompt(prior.embed(["a red ball"]))
    ways: list[tuple[int, dict[str, Any]]] = [(0, {}), (2, {"from_time": 5000}), (2, {"from_time": -1}), (2, {"solver": "rk4"})]
    for steps, more in ways:
        with pytest.raises(InputError):
            sample(prior, PICTURES, guided, steps, **more)
    bridges: list[dict[str, Any]] = [{"steps": 0}, {"t_max": 0.0}, {"t_max": 2.0}, {"t_max": float("nan")}, {"solver": "rk4"}]
    for numbers in bridges:
        with pytest.raises(InputError):
            BridgeSettings(**numbers)
    adapters: list[dict[str, Any]] = [{"rank": 0}, {"learning_rate": float("nan")}, {"camera_drop": 5.0}]
    for numbers in adapters:
        with pytest.raises(InputError):
            LoraSettings(**numbers)
    with pytest.raises(InputError, match="guidance scale is nan"):
        GuidedPrompt(prior.embed(["a red ball"]), float("nan"))
    with pytest.raises(InputError, match="no device 'abacus'"):
        load_prior(board, "abacus")
    with pytest.raises(JobError, match="was asked for"):
        load_prior(board, "cuda:99" if torch.cuda.is_available() else "cuda")
    with pytest.raises(ModelError, match="image_size is -1"):
        load_prior(board, image_size=-1)


@pytest.fixture
def threestudio(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """What the adapters use of threestudio (its registry, `BaseObject`, a system, the processor's output), by its published interface."""
    registry: dict[str, Any] = {}
    warned: list[str] = []

    class BaseObject:
        @dataclasses.dataclass
        class Config:
            pass

        def __init__(self, cfg: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> None:
            self.cfg = self.Config(**(cfg or {}))
            self.device = torch.device("cpu")
            self.configure(*args, **kwargs)

        def configure(self, *args: Any, **kwargs: Any) -> None: ...

    class BaseLift3DSystem:
        @dataclasses.dataclass
        class Config:
            loss: dict[str, float] = dataclasses.field(default_factory=dict)
            prompt_processor_type: str = ""
            prompt_processor: dict[str, Any] = dataclasses.field(default_factory=dict)
            guidance_type: str = ""
            guidance: dict[str, Any] = dataclasses.field(default_factory=dict)

        def __init__(self, cfg: dict[str, Any]) -> None:
            self.cfg, self.fits, self.logged = self.Config(**cfg), 0, {}
            self.raw = torch.zeros(1, 16, 16, 3, requires_grad=True)

        def on_fit_start(self) -> None:
            self.fits += 1

        def log(self, name: str, value: Any) -> None:
            self.logged.setdefault(name, []).append(float(value))

    class DreamFusion(BaseLift3DSystem):
        """Its steps by what is published of them: picture, guidance, every "loss_" times its lambda."""

        def on_fit_start(self) -> None:
            super().on_fit_start()
            self.prompt_processor = registry[self.cfg.prompt_processor_type](self.cfg.prompt_processor)  # loads a text encoder
            self.guidance = registry[self.cfg.guidance_type](self.cfg.guidance)

        def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
            rgb = self.raw.sigmoid().expand(len(batch["azimuth"]), -1, -1, -1)
            loss = torch.zeros(())
            for name, value in self.guidance(rgb, self.prompt_processor(), **batch, rgb_as_latents=False).items():
                self.log(f"train/{name}", value)
                if name.startswith("loss_"):
                    loss = loss + value * self.cfg.loss[name.replace("loss_", "lambda_")]
            return {"loss": loss}

    registry["dreamfusion-system"] = DreamFusion
    package, utils, base = (ModuleType(name) for name in ("threestudio", "threestudio.utils", "threestudio.utils.base"))
    package.register = lambda name: lambda registered: registry.setdefault(name, registered)  # type: ignore[attr-defined]
    package.find = registry.__getitem__  # type: ignore[attr-defined]
    package.warn = warned.append  # type: ignore[attr-defined]
    base.BaseObject = BaseObject  # type: ignore[attr-defined]
    for module in (package, utils, base):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield SimpleNamespace(find=registry.__getitem__, warned=warned)


def test_threestudio_s_systems_can_call_the_guidance(threestudio: SimpleNamespace, board: str) -> None:
    started(ROOT / "integrations" / "threestudio", "sketchbridge_threestudio")
    guidance = threestudio.find("sketchbridge-guidance")({"model": board, "steps": 10, "switch": 0.5})
    rgb = torch.rand(2, 16, 16, 3, requires_grad=True)
    processor = SimpleNamespace(prompt="a zeppelin")
    batch = {
        "elevation": torch.tensor([5.0, 80.0]), "azimuth": torch.tensor([0.0, 170.0]), "camera_distances": torch.ones(2), "rays_o": None,
    }  # fmt: skip
    guidance.update_step(0, 3)
    out = guidance(rgb, processor, **batch, rgb_as_latents=False)
    assert [name for name in out if name.startswith("loss_")] == ["loss_sds"] and out["stage"] == 1
    out["loss_sds"].backward()
    assert rgb.grad is not None and torch.isfinite(rgb.grad).all() and rgb.grad.abs().sum() > 0
    guidance.update_step(0, 8)
    assert guidance(rgb, processor, **batch)["stage"] == 2
    assert len(threestudio.warned) == 2 and all("zeppelin" in told for told in threestudio.warned)  # target and source, each once
    with pytest.raises(ValueError, match=r"rgb \[B, H, W, 3\] in 0..1, got \[2, 16, 16, 4\]"):
        guidance(torch.rand(2, 16, 16, 4), processor, **batch)
    with pytest.raises(ValueError, match="not latents"):
        guidance(rgb, processor, **batch, rgb_as_latents=True)


def test_threestudio_s_own_loop_runs_with_the_system(threestudio: SimpleNamespace, board: str) -> None:
    """Fit and forty steps as threestudio's trainer calls them: both stages, no prompt processor, and the picture becomes red."""
    started(ROOT / "integrations" / "threestudio", "sketchbridge_threestudio")
    own = {"model": board, "method": "anchored", "steps": 40, "switch": 0.5, "first_scale": 1.0, "scale": 1.0}
    system = threestudio.find("sketchbridge-system")({"prompt": "a red ball", "guidance": own, "loss": {"lambda_sds": 1.0}})
    system.on_fit_start()
    adam = torch.optim.Adam([system.raw], lr=0.2)
    batch = {"elevation": torch.zeros(2), "azimuth": torch.tensor([0.0, 180.0]), "camera_distances": torch.ones(2)}
    for step in range(40):
        system.guidance.update_step(0, step)
        adam.zero_grad()
        system.training_step(batch, step)["loss"].backward()
        adam.step()
    assert system.fits == 1 and system.logged["train/stage"] == [1.0] * 20 + [2.0] * 20 and not threestudio.warned
    red, green, _ = system.raw.sigmoid()[0, 5:11, 5:11].mean((0, 1)).tolist()
    assert red > green + 0.3


def test_the_comfyui_node_loads_and_works_without_comfyui(board: str) -> None:
    module = started(ROOT / "integrations" / "comfyui", "sketchbridge_comfyui")
    (name, node), *rest = module.NODE_CLASS_MAPPINGS.items()
    assert not rest and set(module.NODE_DISPLAY_NAME_MAPPINGS) == {name}
    inputs = node.INPUT_TYPES()
    json.dumps(inputs)  # ComfyUI sends it to the browser
    assert "calibrated" in inputs["required"]["method"][0] and "ddim" not in inputs["required"]["method"][0]
    work = getattr(node(), node.FUNCTION)
    assert set(inspect.signature(work).parameters) == {*inputs["required"], *inputs["optional"]}
    with torch.inference_mode():  # as ComfyUI runs it, on images that were made in that mode
        (made,) = work(prompt="a red ball", model=board, method="calibrated", steps=4, seed=0)
        given = torch.rand(2, 32, 32, 4)
        (changed,) = work(prompt="a green ball", model=board, method="calibrated", steps=4, seed=0, image=given, strength=0.5)
    assert made.shape == (1, 64, 64, 3) and float(made.min()) >= 0 and float(made.max()) <= 1
    assert changed.shape == (2, 64, 64, 3)
    for wrong in (torch.rand(32, 32, 3), torch.rand(1, 32, 32, 1), torch.rand(0, 32, 32, 3)):
        with pytest.raises(ValueError, match="expected an IMAGE"):
            work(prompt="a ball", model="never loaded", method="calibrated", steps=4, seed=0, image=wrong)
    for more in ({"prompt": " "}, {"method": "magic"}, {"steps": 0}):
        with pytest.raises(InputError):
            work(**{"prompt": "a ball", "model": "never loaded", "method": "calibrated", "steps": 4, "seed": 0, **more})
