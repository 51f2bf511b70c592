"""Choosing a back end, the reasons given, and that nothing heavy is imported for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.errors import InputError, JobError
from engine.render.base import select_rasterizer, unavailable


def test_cpu_gets_the_warp_back_end_once() -> None:
    assert select_rasterizer("cpu").name == "warp"
    assert select_rasterizer("cpu") is select_rasterizer("cpu")
    assert select_rasterizer("cpu", "reference").name == "reference"


def test_what_cannot_be_had_says_why() -> None:
    with pytest.raises(JobError, match=r"nvdiffrast needs CUDA, the device is cpu"):
        select_rasterizer("cpu", "nvdiffrast")
    with pytest.raises(InputError, match="'opengl'"):
        select_rasterizer("cpu", "opengl")
    with pytest.raises(JobError, match="Warp runs on cpu and cuda, not on meta"):
        select_rasterizer("meta")
    assert unavailable("warp", "cpu") is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_cuda_both_back_ends_are_refused_with_reasons() -> None:
    with pytest.raises(JobError, match=r"nvdiffrast: torch finds no CUDA device; warp: Warp finds no CUDA"):
        select_rasterizer("cuda")


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment}, check=True)


def test_importing_the_renderer_imports_neither_warp_nor_nvdiffrast() -> None:
    modules = ", ".join(
        f"engine.render.{name}" for name in ("base", "reference", "shading", "surface_ops", "warp_backend", "nvdiffrast_backend")
    )
    done = run(f"import sys, {modules}, engine.camera; print([name for name in ('warp', 'nvdiffrast') if name in sys.modules])")
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_loading_warp_says_nothing_about_a_missing_gpu_and_swallows_nothing_else() -> None:
    done = run(
        "import os; from engine.render.warp_runtime import load_warp, _without_line; load_warp()\n"
        "with _without_line(b'driver'): os.write(2, b'kept\\nno driver\\n')"
    )
    assert done.stderr == "kept\n"
    assert done.stdout == ""


@pytest.mark.slow
def test_an_unwritable_kernel_cache_is_replaced(tmp_path: Path) -> None:
    """Warp's folder cannot be made: kernels compile into a temporary folder, and nothing is printed on stdout."""
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    done = run(
        "import sys, torch; from engine.render.surface_ops import vertex_normals;"
        "vertex_normals(torch.eye(3), torch.tensor([[0, 1, 2]], dtype=torch.int32));"
        "import warp; print(warp.config.kernel_cache_dir, file=sys.stderr)",
        WARP_CACHE_PATH=str(blocker / "warp"),
    )
    assert "sketchbridge-warp-" in done.stderr
    assert done.stdout == ""
