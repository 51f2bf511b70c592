"""Memory that is used up is a sentence, whoever says so and however; what is no such error stays what it is."""

from __future__ import annotations

import dataclasses
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.diffusion.load import EMBEDDED_FOLDER
from engine.errors import JobError
from engine.formats.map_files import DTYPES
from engine.job import run_job
from engine.job_fields import PRESETS, JobSettings
from engine.memory import (
    SURE,
    expect,
    fault_of_the_machine,
    free_bytes,
    gpu_lost,
    largest_grid,
    largest_texture,
    needed_bytes,
    out_of_memory,
    weights_bytes,
)
from engine.reporting import QuietReporter
from engine.texture.maps import KINDS, texel_bytes

DRAFT, HIGH = PRESETS["draft"], PRESETS["high"]
ROOT = Path(__file__).resolve().parents[2]


def raised(work) -> BaseException:
    with pytest.raises(BaseException) as caught:
        work()
    return caught.value


def test_numpys_and_torchs_own_errors_are_known() -> None:
    for work in (lambda: np.zeros(2**50), lambda: torch.zeros(2**50)):
        error = out_of_memory(raised(work))
        assert error is not None and error.code == "out_of_memory" and "machine's memory" in error.message and error.fix


def test_a_gpus_memory_is_named() -> None:
    error = out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"))
    assert error is not None and "GPU" in error.message and "cpu" in error.fix


@pytest.mark.parametrize(
    "said",
    ["CUDA error: an illegal memory access was encountered", "CUDA error: unknown error\nCUDA kernel errors might be reported later",
     "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "Warp CUDA error 700: an illegal memory access was encountered (in function x)"],
)  # fmt: skip
def test_a_gpu_that_fails_is_told_as_such(said: str) -> None:
    error = fault_of_the_machine(RuntimeError(said))
    assert error is not None and error.code == "gpu_lost" and said.splitlines()[0] in error.message and "checkpoint" in error.fix
    assert gpu_lost(torch.AcceleratorError("any words")) is not None and gpu_lost(RuntimeError("shape mismatch")) is None


@pytest.mark.parametrize("said", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"])
def test_a_gpu_that_is_full_is_no_gpu_that_failed(said: str) -> None:
    error = fault_of_the_machine(RuntimeError(said))
    assert error is not None and error.code == "out_of_memory" and "GPU's memory" in error.message


def test_the_cause_behind_an_error_counts() -> None:
    def load() -> None:
        try:
            raise OSError("warp.so: failed to map segment from shared object")
        except OSError as error:
            raise RuntimeError("Failed to load the shared library 'warp.so'") from error

    assert out_of_memory(raised(load)) is not None


def test_other_errors_are_not_taken_for_it() -> None:
    assert out_of_memory(ValueError("crashed")) is None
    assert out_of_memory(raised(lambda: torch.zeros(2) @ torch.zeros(3))) is None
    assert out_of_memory(FileNotFoundError(2, "No such file or directory")) is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's address space is Linux's")
@pytest.mark.parametrize("gigabytes", [1.2, 1.8])
def test_the_command_line_says_it_in_a_sentence(gigabytes: float, tmp_path: Path) -> None:
    """At these limits the job once ended in tracebacks of numpy's and of the loader of native libraries."""
    limit = int(gigabytes * 2**30)
    job = ["refine", "examples/flower.glb", "--prompt", "a tulip", "--out", str(tmp_path), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", *job],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "memory" in done.stderr and "fix:" in done.stderr and "Traceback" not in done.stderr
    assert "is used up" in done.stderr or "are free" in done.stderr


@pytest.mark.parametrize(
    ("change", "measured"),
    [({}, 0.73e9), ({"grid": 128}, 0.85e9), ({"grid": 192}, 1.03e9), ({"colour_grid": 256}, 2.04e9),
     ({"views": 16, "supersample": 2}, 0.72e9)],
)  # fmt: skip
def test_the_estimate_is_near_what_was_measured(change: dict[str, int], measured: float) -> None:
    """Peaks of whole jobs on the flower (2,576 faces) on a CPU; the embedded model's weights are small."""
    base = {"grid": 32, "colour_grid": 32, "views": 2, "supersample": 1, "faces": 2000, "texture_size": 64}
    numbers = dataclasses.replace(DRAFT, **{**base, **change})
    assert needed_bytes("refine", numbers, 2576, weights_bytes(EMBEDDED_FOLDER)) == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize(("kinds", "map_format", "measured"), [("albedo", "png8", 64.5), ("pbr", "png8", 66.9), ("pbr", "exr", 86.9)])
def test_the_estimate_of_a_texture_follows_its_maps(kinds: str, map_format: str, measured: float) -> None:
    """Bytes a texel by which baking 2,048 texels a side raised a process's peak, from 512 on."""
    maps = texel_bytes(KINDS[kinds], DTYPES[map_format], refined=False)
    large, small = (dataclasses.replace(HIGH, texture_size=size, colour_grid=8, views=1, supersample=1) for size in (8192, 4096))
    a_texel = (needed_bytes("texture", large, 0, 0, 1, maps) - needed_bytes("texture", small, 0, 0, 1, maps)) / (8192**2 - 4096**2)
    assert a_texel == pytest.approx(measured, rel=0.15)
    more = needed_bytes("texture", large, 0, 0, 3, maps) - needed_bytes("texture", large, 0, 0, 1, maps)
    assert more >= 2 * maps * 8192**2


def test_maps_that_need_a_finer_surface_count_where_there_is_one() -> None:
    assert texel_bytes(KINDS["all"], np.uint8, refined=True) == 11 and texel_bytes(KINDS["all"], np.uint16, refined=False) == 14


def test_what_costs_more_is_told_to_need_more() -> None:
    draft = needed_bytes("refine", DRAFT, 2576, 0)
    assert needed_bytes("texture", DRAFT, 2576, 0) <= draft < needed_bytes("refine", HIGH, 2576, 0)
    assert needed_bytes("refine", DRAFT, 2576, 10**9) > draft + 10**9
    assert needed_bytes("refine", DRAFT, 5_000_000, 0) > draft + 2 * 10**9


def test_a_job_that_cannot_fit_is_refused_and_any_other_is_announced() -> None:
    with pytest.raises(JobError, match=r"needs about 4\.0 GB of memory; 2\.0 GB of the machine's are free") as caught:
        expect(4 * 10**9, 2 * 10**9, "the machine")
    assert caught.value.code == "needs_memory" and "preset" in caught.value.fix
    assert "4.0 GB of memory will be needed; 3.0 GB of the GPU's" in expect(4 * 10**9, 3 * 10**9, "the GPU")
    assert "will be needed" in expect(4 * 10**9, None, "the machine")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_free_memory_follows_the_systems_count_and_the_processs_limit() -> None:
    free = free_bytes()
    assert free is not None and 0 < free < 2**50
    script = "import resource; from engine.memory import free_bytes; limit = 1 << 30\n"
    script += "resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); print(free_bytes())"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert 0 < int(done.stdout) < 1 << 30


def test_where_a_grid_does_not_fit_the_finest_that_does_is_offered() -> None:
    numbers = dataclasses.replace(HIGH, grid=256)
    free = int(2e9)
    grid = largest_grid(numbers, 10_000, 0, free)
    assert grid is not None and 100 < grid < 256 and grid % 2 == 0
    assert SURE * needed_bytes("refine", dataclasses.replace(numbers, grid=grid), 10_000, 0) <= free
    assert SURE * needed_bytes("refine", dataclasses.replace(numbers, grid=grid + 2), 10_000, 0) > free
    with pytest.raises(JobError) as caught:
        expect(needed_bytes("refine", numbers, 10_000, 0), free, "the machine", grid)
    assert caught.value.code == "needs_memory" and f"a grid of {grid}, the finest that fits" in caught.value.fix
    assert largest_grid(numbers, 10_000, 0, int(1e8)) is None


def test_where_a_texture_does_not_fit_the_largest_that_does_is_offered() -> None:
    numbers = dataclasses.replace(HIGH, texture_size=8192)
    free = int(2.5e9)
    size = largest_texture("texture", numbers, 10_000, 0, 12, free)
    assert size is not None and size in (1024, 2048, 4096)
    assert SURE * needed_bytes("texture", dataclasses.replace(numbers, texture_size=size), 10_000, 0, 12) <= free
    assert SURE * needed_bytes("texture", dataclasses.replace(numbers, texture_size=2 * size), 10_000, 0, 12) > free
    with pytest.raises(JobError) as caught:
        expect(needed_bytes("texture", numbers, 10_000, 0, 12), free, "the machine", None, size)
    assert f"a texture size of {size}, the largest that fits" in caught.value.fix


def test_all_variations_are_counted_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """One fits and begins; the sixty-four that a job would hold together do not, which is said before a model is loaded."""
    from shapes import box

    monkeypatch.setattr("engine.room.free_bytes", lambda: int(2e9))

    class Begun(Exception): ...

    def load(*_: object, **__: object) -> object:
        raise Begun

    for variations, refused in ((64, JobError), (2, Begun)):
        settings = JobSettings("a box", mode="texture", variations=variations, device="cpu", overrides={"texture_size": 2048})
        with pytest.raises(refused) as caught:
            run_job(box((0.5, 0.4, 0.6)), settings, QuietReporter(), load=load)  # type: ignore[arg-type]
        assert refused is Begun or getattr(caught.value, "code", "") == "needs_memory"
