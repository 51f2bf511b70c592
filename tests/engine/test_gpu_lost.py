"""A GPU that fails in the middle of a job: the job ends with a sentence, its checkpoint stays, and the same job goes on from there."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny_model import make_tiny_model

from engine.checkpoint import Checkpoint
from engine.cli import main
from engine.errors import EXIT_DONE, EXIT_FAILED
from engine.formats.meshio import save_glb
from tests.engine.pretended import LOST
from tests.engine.shapes import box


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["refine", "texture"])
def test_the_job_ends_with_a_sentence_and_goes_on_from_its_checkpoint(tmp_path, monkeypatch, capsys, mode):
    make_tiny_model(tmp_path / "model")
    monkeypatch.setattr(Checkpoint, "offer", Checkpoint.save)
    save_glb(tmp_path / "box.glb", box((0.5, 0.4, 0.6)))
    words = [mode, str(tmp_path / "box.glb"), "--prompt", "a cup", "--out", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
    numbers = {"grid": 12, "colour_grid": 8, "views": 2, "fit_steps": 1, "stage1_steps": 4, "stage2_steps": 2, "geometry_every": 1}
    words += [word for name, value in numbers.items() for word in ("--set", f"{name}={value}")]
    words += ["--texture-size", "32", "--faces", "200", "--maps", "albedo", "--device", "cpu"]
    honest, asked = UNet2DConditionModel.forward, []

    def lost(*arguments, **named):
        asked.append(1)
        if len(asked) > 3:
            raise torch.AcceleratorError(LOST)
        return honest(*arguments, **named)

    monkeypatch.setattr(UNet2DConditionModel, "forward", lost)
    assert main(words) == EXIT_FAILED
    told = capsys.readouterr().err
    assert "The GPU stopped working in the middle of the job (CUDA error: an illegal memory access was encountered)" in told
    assert "goes on from its checkpoint" in told and "Traceback" not in told
    assert (tmp_path / "out" / "box.checkpoint").stat().st_size > 1000 and not list((tmp_path / "out").glob("*.glb"))
    monkeypatch.setattr(UNet2DConditionModel, "forward", honest)
    assert main(words) == EXIT_DONE
    assert "Resumed after" in "".join(capsys.readouterr()) and list((tmp_path / "out").glob("*.glb"))
