"""Numbers of jobs under large models, and their prompts embedded ahead: no step asks a text encoder anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_model import make_tiny_flow, make_tiny_model

from engine.diffusion.load import load_prior
from engine.distillation import PromptPair
from engine.job import run_job
from engine.job_fields import PRESETS, JobSettings
from engine.large_models import NUMBERS, OF_ALL, embed_ahead, for_its_model, picture_size
from engine.reporting import QuietReporter
from engine.view_batch import every_words, sample_view_batch
from tests.engine.shapes import box


def sized(folder: Path, latents: int, part: str = "unet") -> Path:
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": latents}))
    return folder


@pytest.mark.parametrize("make", [make_tiny_model, make_tiny_flow])
def test_a_large_folder_has_its_own_numbers_and_the_users_word_counts(tmp_path, make):
    part = "unet" if make is make_tiny_model else "transformer"
    folder = str(sized(make(tmp_path / "model"), 256, part))
    assert picture_size(folder) == 512
    numbers = for_its_model(JobSettings("a cup", model=folder, preset="standard")).resolve()
    assert (numbers.views, numbers.supersample, numbers.t_high) == (NUMBERS["standard"]["views"], 1, 0.98)
    assert numbers.guidance_scale == numbers.stage2_weight == OF_ALL["guidance_scale"]  # the scale is kept
    told = for_its_model(JobSettings("a cup", model=folder, overrides={"views": 3, "guidance_scale": 7.5})).resolve()
    assert (told.views, told.guidance_scale) == (3, 7.5)


def test_every_other_model_keeps_the_presets(tmp_path):
    small = str(make_tiny_model(tmp_path / "model"))
    for model in (small, "embedded", "examples/boards/tulips", str(tmp_path / "nothing")):
        settings = JobSettings("a cup", model=model)
        assert for_its_model(settings) is settings
    assert PRESETS.keys() == NUMBERS.keys()
    assert picture_size("owner/model") == 512 and picture_size(small) == 16
    (tmp_path / "model" / "vae" / "config.json").write_text("{")
    assert picture_size(small) is None


def test_all_words_of_views_are_known_ahead():
    known, generator = set(every_words()), torch.Generator().manual_seed(0)
    for _ in range(40):
        assert set(sample_view_batch(PRESETS["draft"], generator, torch.device("cpu")).words) <= known


@pytest.mark.slow
def test_no_step_of_a_job_asks_a_text_encoder(tmp_path):
    prior = load_prior(str(make_tiny_model(tmp_path / "model")), "cpu", torch.float32)
    asked: list[str] = []
    honest, rest = prior.text.text_states, prior.text.rest
    prior.text.text_states = lambda prompts: asked.extend(prompts) or honest(prompts)

    def resting() -> None:
        rest()
        prior.text.text_states = lambda prompts: pytest.fail(f"asked later: {prompts}")

    prior.text.rest = resting
    overrides = {"grid": 12, "colour_grid": 8, "views": 2, "fit_steps": 1, "stage1_steps": 3, "stage2_steps": 3}
    settings = JobSettings("a cup", "texture", model="tiny", maps="albedo", texture_size=32, overrides=overrides)
    run_job(box((0.5, 0.4, 0.6)), settings, QuietReporter(), load=lambda *_, **__: prior)
    assert "" in asked and len(asked) == len(set(asked)) > 2 * 4
    assert not any(isinstance(part, torch.nn.Module) for part in prior.text._parts.values())


def test_a_model_without_large_text_encoders_is_left_alone():
    prior = load_prior("embedded", surface=True)
    before = dict(prior.text._embedded)
    embed_ahead(prior, PromptPair("a cup"))
    assert prior.text._embedded == before
