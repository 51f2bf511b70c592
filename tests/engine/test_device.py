"""Where a job computes: what is said where a GPU was asked for and is not there, is too small, or is Apple's."""

from __future__ import annotations

import pytest
import torch

from engine import device, doctor
from engine.cli import main
from engine.diffusion.diffusers_prior import fast_dtype
from engine.errors import JobError
from engine.formats.meshio import save_glb
from engine.render.base import select_rasterizer
from tests.engine.shapes import box

GIB = 2**30


@pytest.fixture()
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture()
def apple(monkeypatch, no_gpu):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def test_a_gpu_that_is_not_there_is_told_before_any_work(no_gpu, monkeypatch, tmp_path, capsys):
    """An old driver, as torch tells it: the job ends at once with what to do, and the doctor says the same."""
    monkeypatch.setattr(device, "why_no_cuda", lambda: device.reason("12.8", True, "The NVIDIA driver on your system is too old"))
    save_glb(tmp_path / "box.glb", box((0.5, 0.4, 0.6)))
    words = ["refine", str(tmp_path / "box.glb"), "--prompt", "a cup", "--out", str(tmp_path / "out"), "--device", "cuda"]
    assert main(words) == JobError.exit_code
    told = capsys.readouterr().err
    assert "driver is too old for torch's CUDA 12.8" in told and "Update the driver" in told and "Traceback" not in told
    assert not list((tmp_path / "out").glob("*.glb"))
    found = doctor._device()
    assert found.state == "optional" and "too old" in found.detail and "Update the driver" in found.fix


def test_a_gpu_of_two_gigabytes_is_told_to_be_too_small_for_large_models(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GeForce GT 1030")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(1.7 * GIB), 2 * GIB))
    found = doctor._device()
    assert (
        found.state == "optional"
        and "2.0 GiB" in found.detail
        and "too little for large ones" in found.detail
        and "--device cpu" in found.fix
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (7 * GIB, 8 * GIB))
    assert doctor._device().state == "works"


def test_on_an_apple_gpu_jobs_take_the_cpu_and_are_told_why(apple):
    assert device.select_device("auto") == device.select_device("cpu") == torch.device("cpu")
    with pytest.raises(JobError, match="not on Apple's") as caught:
        device.select_device("cuda")
    assert "auto" in caught.value.fix
    found = doctor._device()
    assert found.state == "optional" and "not on Apple's" in found.detail and "NVIDIA driver" not in found.fix


def test_an_apple_gpu_asked_of_the_parts_gets_no_half_type_and_no_kernels():
    assert fast_dtype(torch.device("mps")) == torch.float32
    with pytest.raises(JobError, match="Warp runs on cpu and cuda, not on mps"):
        select_rasterizer(torch.device("mps"))
