"""NVIDIA Warp, imported on first use: quiet, with a kernel cache that can be written, launched on torch tensors without copies."""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

MANY_THREADS = 1 << 18
"""About as many as keep a GPU busy."""


@functools.cache
def load_warp() -> ModuleType:
    """The `warp` module, initialized once for the process.

    Kernels compile on first use (seconds) and are cached below the user's cache folder, or `WARP_CACHE_PATH`; where that
    cannot be written, in a temporary folder of this process.
    """
    import warp as wp

    if hasattr(wp, "LOG_WARNING"):
        wp.config.log_level = wp.LOG_WARNING
    else:
        wp.config.quiet = True  # pyright: ignore[reportAttributeAccessIssue] - what older versions have
    with _without_line(None if torch.cuda.is_available() else b"NVIDIA CUDA driver"):
        try:
            wp.init()
            tempfile.TemporaryFile(dir=wp.config.kernel_cache_dir).close()
        except OSError:
            _use_temporary_cache(wp)
    return wp


def launch(kernel: Any, dim: int | tuple[int, ...], arguments: list[Any], device: torch.device) -> None:
    """Run a Warp kernel on `device`, in torch's current stream where that is a GPU.

    Tensors among the arguments may have any strides; `(tensor, dtype)` shares a tensor whose last axis, contiguous, is a Warp vector.
    """
    if (math.prod(dim) if isinstance(dim, tuple) else dim) == 0:
        return
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


def runs_of_views(views: int, device: torch.device) -> tuple[int, int]:
    """(run, groups) for kernels whose threads take a vertex or face in a run of views: all views on a CPU, one on a GPU."""
    run = max(views, 1) if device.type == "cpu" else 1
    return run, (views + run - 1) // run


def parts_of_a_face(threads: int, height: int, device: torch.device) -> int:
    """Threads for each face, which share its rows of `height`, where there are so few `threads` with one a face that most of a GPU would
    wait for those with large faces."""
    return 1 if device.type == "cpu" else max(min(MANY_THREADS // max(threads, 1), height), 1)


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


@contextlib.contextmanager
def _without_line(unwanted: bytes | None) -> Iterator[None]:
    """Hold back what native code writes on stderr, then pass it on without the lines that contain `unwanted`.

    Warp warns on every machine without a GPU that there is none; users who never asked for one need not read it.
    """
    if unwanted is None:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            os.write(2, b"".join(line for line in held if unwanted not in line))
