"""Meshes and maps from and to files. Everything inside is world space (+Z up, metres)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError, JobError
from engine.gltf import glb_bytes
from engine.mesh import Mesh


def save_glb(path: Path | str, mesh: Mesh, maps: dict[str, np.ndarray] | None = None, name: str = "mesh", extras: dict[str, Any] | None = None, *,
             smooth: bool = True, factors: dict[str, float] | None = None) -> None:  # fmt: skip
    """Write a world-space mesh and its maps as binary glTF that Blender reads into a Principled BSDF.

    Faces keep their order and corners exactly; vertices are doubled where uvs split. Vertex colours are written only where there is no
    albedo map. `extras` (JSON-able: seed, prompt, versions ...) become the object's custom properties. `smooth` and `factors` as in
    `engine.gltf.glb_bytes`. The file appears whole or not at all. InputError for a folder that cannot be written, JobError for a full disk.
    """
    write_atomically(Path(path), glb_bytes(mesh, maps or {}, name, extras or {}, smooth=smooth, factors=factors or {}))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a neighbouring temporary file, then rename it: a reader sees the old file, the new one, or none, never half of one."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files private
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise _write_error(path, error, len(data)) from error


def _write_error(path: Path, error: OSError, size: int) -> InputError | JobError:
    import errno

    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JobError("disk_full", f"The disk is full: '{path.name}' needs {size / 1e6:.1f} MB in '{path.parent}'. Nothing was written.",
                        "Free some space or choose another output folder.")  # fmt: skip
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG):
        return InputError("cannot_write", f"Cannot write '{path}': {reason}. Nothing was written.", "Choose an output folder that you may write to.")
    return JobError("cannot_write", f"Writing '{path}' failed: {reason}. Nothing was written.", "Check the disk or choose another output folder.")
