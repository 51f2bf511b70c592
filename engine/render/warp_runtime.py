"""NVIDIA Warp, imported on first use: quiet, with a kernel cache that can be written, launched on torch tensors without copies."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


@functools.cache
def load_warp() -> ModuleType:
    """The `warp` module, initialised once for the process.

    Kernels compile on first use (seconds) and are cached below the user's cache folder, or `WARP_CACHE_PATH`; where that
    cannot be written, in a temporary folder of this process.
    """
    import warp as wp

    if hasattr(wp, "LOG_WARNING"):
        wp.config.log_level = wp.LOG_WARNING
    else:
        wp.config.quiet = True
    try:
        wp.init()
        tempfile.TemporaryFile(dir=wp.config.kernel_cache_dir).close()
    except OSError:
        _use_temporary_cache(wp)
    return wp


def launch(kernel: Any, dim: int | tuple[int, ...], arguments: list[Any], device: torch.device) -> None:
    """Run a Warp kernel on `device`, in torch's current stream where that is a GPU.

    Tensors among the arguments must be contiguous; `(tensor, dtype)` shares a tensor whose last axis is a Warp vector.
    """
    wp = load_warp()
    inputs = [_shared(argument) for argument in arguments]
    if device.type == "cpu":
        wp.launch(kernel, dim=dim, inputs=inputs, device="cpu")
    else:
        wp.launch(kernel, dim=dim, inputs=inputs, stream=wp.stream_from_torch(device))


def runs_of_pixels(shape: torch.Size, device: torch.device) -> tuple[int, int]:
    """(run, threads) for kernels that walk an image [B, H, W, ...] in runs of pixels, see `engine.render.kernels.runs`."""
    batch, height, width = shape[:3]
    run = max(width, 1) if device.type == "cpu" else 1
    return run, batch * height * ((width + run - 1) // run)


def _shared(argument: Any) -> Any:
    """A Warp view of a tensor's memory; anything else as it is."""
    if isinstance(argument, Tensor):
        return load_warp().from_torch(argument.detach(), requires_grad=False, return_ctype=True)
    if isinstance(argument, tuple):
        tensor, dtype = argument
        return load_warp().from_torch(tensor.detach(), dtype=dtype, requires_grad=False, return_ctype=True)
    return argument


def _use_temporary_cache(wp: ModuleType) -> None:
    """Compile kernels into a folder that goes when the process ends."""
    folder = tempfile.mkdtemp(prefix="sketchbridge-warp-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["WARP_CACHE_PATH"] = folder
    wp.config.kernel_cache_dir = folder
    wp.init()
    wp.config.kernel_cache_dir = folder
