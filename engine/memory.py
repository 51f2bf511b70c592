"""Memory: what a failure to get it means for the user, and what a job will need of it. Loads nothing heavy."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import sys
from pathlib import Path

from engine.dream_fields import DreamNumbers
from engine.errors import JobError
from engine.job_fields import Hyperparameters

_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment",
    "std::bad_alloc",
)
"""How torch's allocator, the loader of native libraries and native code say it in errors of no type of their own."""
_GPU_WORDS = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_LOST_WORDS = ("CUDA error", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cuDNN error", "Warp CUDA error")


def fault_of_the_machine(error: BaseException | None) -> JobError | None:
    """The sentence for an error, or what caused it, that is the machine's: memory that is used up, a GPU that failed; None for others."""
    return out_of_memory(error) or gpu_lost(error)


def gpu_lost(error: BaseException | None) -> JobError | None:
    """The sentence for an error that says that the GPU answers no more in this process; None for every other."""
    while error is not None:
        if type(error).__name__ == "AcceleratorError" or any(words in str(error) for words in _LOST_WORDS):
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return JobError(
                "gpu_lost",
                f"The GPU stopped working in the middle of the job ({first}).",
                "Start the same job again: it goes on from its checkpoint. If it happens again, restart the machine, update the GPU's "
                "driver, lower its clock if it was raised, or choose the device cpu.",
            )
        error = error.__cause__ or error.__context__
    return None


def out_of_memory(error: BaseException | None) -> JobError | None:
    """The sentence for an error, or what caused it, that says that memory is used up; None for every other error."""
    while error is not None:
        if type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _GPU_WORDS):  # torch's, not imported here
            return JobError(
                "out_of_memory",
                "The GPU's memory is used up.",
                "Close other programs that use the GPU, choose a lower preset, or set the device to cpu.",
            )
        said = any(words in str(error).lower() for words in _WORDS)
        if "could not create a primitive" in str(error):  # oneDNN's, which says it for other reasons too
            said = (free_bytes() or LITTLE) < LITTLE
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or said:
            return JobError(
                "out_of_memory",
                "The machine's memory is used up.",
                "Close other programs, decimate the mesh, or choose a lower preset or texture size.",
            )
        error = error.__cause__ or error.__context__
    return None


LITTLE = 512 << 20
"""Free bytes below which an unclear failure is put down to memory."""
LIBRARIES = 0.65e9
"""What the libraries and their compiled kernels take, bytes."""
GRID_BYTES = 280
"""A quarter of a vertex of the grid with its tetrahedra and edges, of their making, and of the mesh that is drawn through them."""
GRID_SHARE = 1.5
"""Share of the grid that is made, per engine unit by which the surface may move: a sketch's area times both sides over the box's volume."""
QUARTERS_A_TRIANGLE = 10
"""Such quarters that are made for each triangle of the surface, at adherence 0."""
COLOUR_BYTES = 90
"""A vertex of the finest colour grid: the field's levels, gradients, Adam's two moments, the artist's copy."""
VIEW_BYTES = 1e6
"""A view of USUAL_SIZE pixels a side in a step at supersampling 1."""
USUAL_SIZE = 64
TEXEL_BYTES = 60
"""A texel of the image that is being baked, beside its maps."""
WITH_FILE = 1.5
"""A finished map that waits for the others, over its own bytes: with its file."""
SAMPLE_BYTES, CLOUD_BYTES = 100, 190
"""A sample of a ray of a dream's step, and a cell of its cloud."""
FACE_BYTES = 700
"""A triangle of the sketch in the distance field's trees."""
WEIGHTS_SHARE = 1.2
"""What a model takes for each byte of its weights, where no more is known of it."""
SURE = 0.7
"""Share of an estimate that a job takes for certain."""


def needed_bytes(
    mode: str, numbers: Hyperparameters, faces: int, weights: int, images: int = 1, maps: int = 3, pixels: int = USUAL_SIZE
) -> int:
    """About what a job takes at its peak: sketch with so many faces, model with so many bytes of weights that looks at pictures of so many
    pixels a side. Measured, see docs/benchmarks.md.

    The grid counts where the surface moves; the colours with gradients, Adam's moments and the artist's copy; a step's pictures by
    their pixels; the texture by its texels: so many images, each with `maps` bytes a texel in all of its maps together.
    """
    share = min(1.0, GRID_SHARE * (0.07 + 7 / numbers.grid))
    quarters = min(numbers.grid**3 * share, QUARTERS_A_TRIANGLE * numbers.grid_faces or math.inf)
    grid = quarters * GRID_BYTES if mode == "refine" else 0
    colours = numbers.colour_grid**3 * COLOUR_BYTES
    step = numbers.views * (numbers.supersample * pixels / USUAL_SIZE) ** 2 * VIEW_BYTES
    export = numbers.texture_size**2 * (TEXEL_BYTES + images * maps * WITH_FILE)
    return int(LIBRARIES + WEIGHTS_SHARE * weights + max(grid + colours + step, export + colours / 4) + faces * FACE_BYTES)


def dream_bytes(numbers: DreamNumbers, weights: int) -> int:
    """About what a step of a dream takes: its samples, and the cloud with gradients and Adam's moments. Measured; `weights` in bytes."""
    samples = numbers.dream_views * numbers.dream_size**2 * numbers.dream_samples
    return int(LIBRARIES + WEIGHTS_SHARE * weights + samples * SAMPLE_BYTES + numbers.dream_grid**3 * CLOUD_BYTES)


def refuse_large_dream(numbers: DreamNumbers, weights: int, free: int | None, whose: str) -> None:
    """JobError where a dream cannot fit into so many free bytes; None where nobody knows them."""
    needed = dream_bytes(numbers, weights)
    if free is not None and SURE * needed > free:
        raise JobError(
            "needs_memory",
            f"The dream needs about {_shown(needed)} of memory; {_shown(free)} of {whose}'s are free.",
            "Close other programs, or lower dream_size, dream_views, dream_samples or dream_grid.",
        )


def weights_bytes(folder: Path) -> int:
    """Bytes of a model's weights as they are stored: the largest file of each part; 0 for a folder that has none."""
    sizes: dict[Path, int] = {}
    for suffix in ("safetensors", "bin"):
        for path in (*folder.glob(f"*.{suffix}"), *folder.glob(f"*/*.{suffix}")):
            sizes[path.parent] = max(sizes.get(path.parent, 0), path.stat().st_size)
    return sum(sizes.values())


def free_bytes() -> int | None:
    """What this process may still take of the machine's memory, by the system, its limit and its control group; None where unknown."""
    found = [_psutil_free()] if sys.platform != "linux" else [_stated("/proc/meminfo", "MemAvailable:", 1024), _limit_free(), _group_free()]
    return min((free for free in found if free is not None), default=None)


def largest_grid(numbers: Hyperparameters, faces: int, weights: int, free: int | None) -> int | None:
    """The finest grid with which a refine job of these numbers would fit where its own does not; None where there is none."""
    for grid in range(numbers.grid - 2, 7, -2):
        if SURE * needed_bytes("refine", dataclasses.replace(numbers, grid=grid), faces, weights) <= (free or 0):
            return grid
    return None


def largest_texture(
    mode: str, numbers: Hyperparameters, faces: int, weights: int, images: int, free: int | None, maps: int = 3
) -> int | None:
    """The largest texture with which a job of these numbers would fit where its own does not; None where there is none."""
    size = numbers.texture_size // 2
    while size >= LEAST_TEXTURE:
        if SURE * needed_bytes(mode, dataclasses.replace(numbers, texture_size=size), faces, weights, images, maps) <= (free or 0):
            return size
        size //= 2
    return None


LEAST_TEXTURE = 256


def expect(needed: int, free: int | None, whose: str, grid: int | None = None, texture: int | None = None, sure: float = SURE) -> str:
    """What to tell the user before a job starts. JobError where it cannot fit; `whose` memory: "the machine", "the GPU"; grid and texture
    size: ones that would fit (`largest_grid`, `largest_texture`); sure: the share of the estimate that is certain."""
    if free is None:
        return f"About {_shown(needed)} of memory will be needed."
    if sure * needed > free:
        raise JobError(
            "needs_memory",
            f"The job needs about {_shown(needed)} of memory; {_shown(free)} of {whose}'s are free.",
            "Close other programs, or choose "
            + ("a lower preset, a coarser grid, " if grid is None else f"a grid of {grid}, the finest that fits, a lower preset, ")
            + "fewer views or "
            + ("a smaller texture." if texture is None else f"a texture size of {texture}, the largest that fits."),
        )
    return f"About {_shown(needed)} of memory will be needed; {_shown(free)} of {whose}'s are free."


def _shown(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _stated(file: str, name: str, unit: int) -> int | None:
    """The number behind a name in one of /proc's lists, in bytes."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(file) as lines:
        for line in lines:
            if line.startswith(name):
                return int(line.split()[1]) * unit
    return None


def _limit_free() -> int | None:
    """What a limit on the process's address space (ulimit -v) leaves."""
    import resource

    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _stated("/proc/self/status", "VmSize:", 1024)
    return None if limit == resource.RLIM_INFINITY or used is None else max(limit - used, 0)


def _group_free() -> int | None:
    """What the process's control group (a container's limit) leaves; version 2 and 1."""
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        with contextlib.suppress(OSError, ValueError):
            root = Path("/sys/fs/cgroup")
            return max(int((root / limit).read_text()) - int((root / used).read_text()), 0)
    return None


def _psutil_free() -> int | None:
    with contextlib.suppress(ImportError):
        import psutil

        return int(psutil.virtual_memory().available)
    return None
