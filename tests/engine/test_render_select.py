"""Choosing a back end, the reasons given, and that nothing heavy is imported for nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import InputError, JobError
from engine.render import base
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
    with pytest.raises(JobError, match=r"warp cannot be used on cuda: Warp finds no CUDA"):
        select_rasterizer("cuda")
    with pytest.raises(JobError, match=r"nvdiffrast cannot be used on cuda: torch finds no CUDA device"):
        select_rasterizer("cuda", "nvdiffrast")


def test_a_back_end_that_breaks_when_made_gives_way_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nvdiffrast does where it is installed but was built for another CUDA; Warp is the choice where nobody asks."""
    made: list[str] = []

    def make(name: str, device: torch.device) -> str:
        made.append(name)
        if name == "nvdiffrast":
            raise JobError("no_rasterizer", "nvdiffrast cannot be imported.", "Install it again.")
        return "the Warp back end"

    monkeypatch.setattr(base, "unavailable", lambda name, device: None)
    monkeypatch.setattr(base, "_make", make)
    monkeypatch.setattr(base, "_selected", base._selected.__wrapped__)
    notes: list[str] = []
    assert select_rasterizer("cuda") == "the Warp back end" and made == ["warp"]
    assert select_rasterizer("cuda", "nvdiffrast", notes.append) == "the Warp back end"
    assert made == ["warp", "nvdiffrast", "warp"] and "cannot be imported" in notes[0] and "Warp draws instead" in notes[0]
    with pytest.raises(JobError, match="cannot be imported"):
        select_rasterizer("cuda", "nvdiffrast")


PROGRAM = """
import json, os, sys, tempfile
import engine.camera
from engine.render import base, nvdiffrast_backend, reference, shading, surface_ops, warp_backend, warp_runtime
found = {"imported": [name for name in ("warp", "nvdiffrast") if name in sys.modules]}
import torch
face = torch.tensor([[0, 1, 2]], dtype=torch.int32)
found["normals"] = surface_ops.vertex_normals(torch.eye(3), face).tolist()
import warp
found["cache"] = warp.config.kernel_cache_dir
with warp_runtime._without_line(b"driver"):
    os.write(2, b"kept\\nno driver\\n")
json.dump(found, open(sys.argv[1], "w"))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """What a fresh interpreter finds that imports the renderer and uses a kernel, where Warp's cache folder cannot be made."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "file").write_text("not a folder")
    environment = {**os.environ, "WARP_CACHE_PATH": str(folder / "file" / "warp")}
    command = [sys.executable, "-c", PROGRAM, str(folder / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return json.loads((folder / "found.json").read_text()), done


@pytest.mark.slow
def test_importing_the_renderer_imports_neither_warp_nor_nvdiffrast(fresh: Any) -> None:
    assert fresh[0]["imported"] == []


@pytest.mark.slow
def test_an_unwritable_kernel_cache_is_replaced_by_a_folder_that_goes_with_the_process(fresh: Any) -> None:
    found, _ = fresh
    assert torch.tensor(found["normals"]) == pytest.approx(torch.full((3, 3), 3**-0.5), abs=1e-6)
    assert "sketchbridge-warp-" in found["cache"]
    assert not Path(found["cache"]).exists()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_warp_prints_nothing_on_stdout_and_nothing_of_a_missing_gpu(fresh: Any) -> None:
    assert fresh[1].stdout == ""
    assert fresh[1].stderr == "kept\n", "lines that do not speak of the driver must come through, and only those"
