"""The exact empirical prior: its score against the definition, how prompts and cameras select, and where descent ends."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from engine.diffusion import degradations
from engine.diffusion.empirical import EmpiricalPrior, ImageLabel, label_from_name
from engine.diffusion.load import load_prior
from engine.diffusion.prior import Prior
from engine.diffusion.prompts import source_prompt
from engine.errors import InputError, ModelError
from engine.guidance.step import ConditionPair, GuidanceSettings, distill

LABELS = [
    ImageLabel("a red tulip", "front", 0.0, 10.0),
    ImageLabel("a red tulip", "back", 180.0, 10.0),
    ImageLabel("a yellow tulip", "front", 10.0, 60.0),
    ImageLabel("a blue mug", "side", 90.0, 10.0),
    ImageLabel("a red mug", "side", -90.0, 10.0),
    ImageLabel("a wooden chair", "overhead", 45.0, 80.0),
]


@pytest.fixture()
def images():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture()
def prior(images):
    return EmpiricalPrior(images, LABELS)


def chosen(prior, prompt, camera=None):
    cameras = SimpleNamespace(azimuth=torch.tensor([camera[0]]), elevation=torch.tensor([camera[1]])) if camera else None
    return prior.embed([prompt], cameras).data[0, 1:].nonzero().flatten().tolist()


def test_satisfies_the_protocol(prior):
    assert isinstance(prior, Prior)


@pytest.mark.parametrize("t", [5, 300, 900])
def test_score_is_the_mixtures(prior, images, t):
    """eps = -sigma grad log p_t, the gradient by automatic differentiation of the mixture's own density."""
    alpha, sigma = (level.flatten() for level in prior.schedule.levels(torch.tensor([t]), images))
    x_t = (
        alpha * (images[2] * 2 - 1) + 0.5 * sigma * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ).requires_grad_()
    width = sigma**2 + (alpha * prior.spread) ** 2
    density = torch.logsumexp(-(x_t - alpha * (images * 2 - 1)).square().sum((1, 2, 3)) / (2 * width), 0)
    (gradient,) = torch.autograd.grad(density, x_t)
    estimate = prior.predict_noise(x_t.detach()[None], torch.tensor([t]), prior.embed([""]))
    assert torch.allclose(estimate[0], -sigma * gradient, atol=1e-6)


def test_near_an_image_its_noise_is_found(prior, images):
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    t = torch.tensor([200])
    x_t = prior.schedule.add_noise(images[3:4] * 2 - 1, noise, t)
    # the set has no other image near: what is left is the widening by spread^2 / sigma^2
    assert torch.allclose(prior.predict_noise(x_t, t, prior.embed([""])), noise, atol=0.05)


def test_one_batch_of_different_conditions(prior, images):
    x_t, t = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.tensor([100, 500, 900])
    conditions = prior.embed(["a red tulip", "", "a mug, blurry"])
    both = prior.predict_noise(x_t, t, conditions)
    each = torch.cat([prior.predict_noise(x_t[i : i + 1], t[i : i + 1], conditions.select([i])) for i in range(3)])
    assert torch.allclose(both, each, atol=1e-9)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("a red tulip", [0, 1]),
        ("tulips", [0, 1, 2]),
        ("a photo of a mug, high quality", [3, 4]),
        ("a red tulip, back view", [1]),
        ("a red tulip, overhead view", [0, 1]),
        ("a purple chair", [5]),
        ("a red tulip, blurry, noisy", [0, 1]),
    ],
)
def test_prompt_selects_images(prior, prompt, expected):
    assert chosen(prior, prompt) == expected


def test_prompt_about_nothing_in_the_set_says_so(prior):
    conditions = prior.embed(["an elephant"])
    assert int(conditions.data[0, 1:].sum()) == 6 and "elephant" in conditions.notes[0]


def test_nearest_cameras_are_selected(images):
    prior = EmpiricalPrior(images, LABELS, nearest=1)
    assert chosen(prior, "a tulip", (170.0, 5.0)) == [1]
    assert chosen(prior, "a tulip", (5.0, 55.0)) == [2]
    assert chosen(prior, "a mug", (-100.0, 0.0)) == [4]
    assert chosen(EmpiricalPrior(images, LABELS, nearest=2), "a mug", (-100.0, 0.0)) == [3, 4]


def test_cameras_fall_back_to_view_words(images):
    words = [ImageLabel(label.caption, label.view) for label in LABELS]
    prior = EmpiricalPrior(images, words)
    assert chosen(prior, "a tulip", (180.0, 0.0)) == [1]
    assert chosen(prior, "a mug", (0.0, 0.0)) == [3, 4]


def test_descriptors_select_degraded_copies(prior):
    clean, degraded = prior.embed(["a red tulip"]), prior.embed([source_prompt("a red tulip")])
    assert int(clean.data[0, 0]) == 0 and int(degraded.data[0, 0]) != 0
    x_t, t = torch.randn(1, 3, 8, 8, dtype=torch.float64), torch.tensor([300])
    assert not torch.allclose(prior.predict_noise(x_t, t, clean), prior.predict_noise(x_t, t, degraded), atol=1e-3)


def test_descent_at_scale_one_ends_in_an_image_of_the_prompt():
    """SDS under the exact score is mode seeking: from grey it must end within 0.03 of one of the two red tulips."""
    blocks = torch.nn.functional.interpolate(torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(3)), size=(16, 16))
    prior = EmpiricalPrior(blocks, LABELS)
    image = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    adam = torch.optim.Adam([image], lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for _ in range(250):
        loss, _ = distill(prior, image, ConditionPair(prior.embed(["a red tulip"])), GuidanceSettings("sds", 1.0), generator)
        adam.zero_grad()
        loss.backward()
        adam.step()
    distances = (image.detach() - blocks).square().mean((1, 2, 3)).sqrt()
    assert int(distances.argmin()) in (0, 1) and float(distances.min()) < 0.03, distances


def write(folder, name, colour, size=(20, 12)):
    Image.new("RGB", size, colour).save(folder / name)


def test_folder_with_captions_and_folder_with_speaking_names(tmp_path):
    write(tmp_path, "a.png", "red")
    write(tmp_path, "blue_mug_side_view.png", "blue")
    lines = [{"file": "a.png", "caption": "a red tulip", "background": "on sand", "kind": "tulip", "view": "front view", "azimuth": 12}]
    (tmp_path / "captions.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    prior = load_prior(str(tmp_path), image_size=16)
    assert isinstance(prior, EmpiricalPrior)
    assert prior.labels == (ImageLabel("a red tulip on sand tulip", "front", 12.0, None), ImageLabel("blue mug side view", "side"))
    assert {"red", "tulip", "sand", "blue", "mug"} <= prior.known_words
    assert torch.allclose(prior.decode(prior.encode(torch.full((1, 3, 32, 32), 0.25))), torch.full((1, 3, 16, 16), 0.25))


def test_names_become_captions():
    assert label_from_name("red-tulip_front_view_03") == ImageLabel("red tulip front view 03", "front")


def test_transparent_images_lie_on_white_and_are_cut_square(tmp_path):
    pixels = np.zeros((10, 30, 4), np.uint8)
    pixels[:, 10:20] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "cut.png")
    prior = load_prior(str(tmp_path), image_size=8)
    middle = prior.decode(prior._centre)
    assert torch.allclose(middle[0, :, 4, 4], torch.tensor([1.0, 0.0, 0.0]), atol=0.01)


@pytest.mark.parametrize("line", ["not json", "[1, 2]", '{"caption": "no file"}', '{"file": "a.png", "caption": "x", "azimuth": "north"}'])
def test_broken_captions_name_the_line(tmp_path, line):
    write(tmp_path, "a.png", "red")
    (tmp_path / "captions.jsonl").write_text('{"file": "a.png", "caption": "fine"}\n' + line)
    with pytest.raises(ModelError, match="Line 2"):
        load_prior(str(tmp_path))


def test_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "fake.png").write_text("not an image")
    with pytest.raises(InputError, match=r"fake\.png"):
        load_prior(str(tmp_path))


@pytest.mark.parametrize("name", sorted(degradations.DEGRADATIONS))
def test_every_descriptor_does_something_and_stays_in_range(name):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    degraded = degradations.DEGRADATIONS[name](images, torch.Generator().manual_seed(0))
    assert degraded.shape == images.shape and float(degraded.min()) >= -1e-5 and float(degraded.max()) <= 1 + 1e-5
    assert float((degraded - images).abs().mean()) > 0.02


def test_effects_do_what_their_names_say():
    smooth = torch.nn.functional.interpolate(
        torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(1)), size=(32, 32), mode="bilinear"
    )
    generator = torch.Generator().manual_seed(0)
    chroma = lambda x: float((x - degradations.luma(x)).abs().mean())  # noqa: E731
    detail = lambda x: float(x.diff(dim=-1).abs().mean())  # noqa: E731
    assert chroma(degradations.oversaturated(smooth, generator)) > 1.5 * chroma(smooth)
    assert detail(degradations.noisy(smooth, generator)) > 2 * detail(smooth)
    noise = torch.rand(4, 3, 32, 32, generator=generator)
    assert detail(degradations.blurred(noise, generator)) < 0.6 * detail(noise)
    assert float(degradations.hazed(smooth, generator).std()) < 0.6 * float(smooth.std())
