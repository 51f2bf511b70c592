"""What a job returns, and how the command line writes it into a folder."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError, writing
from engine.formats import files
from engine.mesh import Mesh


@dataclass(frozen=True)
class JobResult:
    """The finished object.

    mesh    world space, with per-corner uvs; in texture mode exactly the mesh that came in (plus uvs where it had none)
    maps    textures, uint8 [H, W, 3], row 0 at the top: "albedo" (sRGB)
    delivered  to be called once the result is where it belongs: nothing needs to be kept for another try
    report  JSON-able: deviation_mean_percent, deviation_p95_percent, stage_seconds, prompt, seed, model, preset, versions, notes ...
    """

    mesh: Mesh
    maps: dict[str, np.ndarray]
    report: dict[str, Any] = field(default_factory=dict)
    delivered: Callable[[], None] = field(default=lambda: None, compare=False)


def versions() -> dict[str, str]:
    """Versions of what decides a result, for provenance."""
    found = {}
    for package in ("sketchbridge", "torch", "diffusers", "warp-lang"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "source"
    return found


def prepare_folder(folder: Path) -> None:
    """Make the output folder and prove that it can be written to, before an hour of work. InputError otherwise."""
    try:
        files.prepare_folder(folder)
    except OSError as error:
        raise InputError(
            "cannot_write",
            f"The output folder '{folder}' cannot be written to: {error.strerror or error}.",
            "Choose another folder, free space on its disk, or change its permissions.",
        ) from error


def write_result(result: JobResult, sketch: Mesh, folder: Path, name: str) -> list[Path]:
    """Write NAME.glb, NAME.png (before and after) and NAME.json into `folder`; each file is whole or absent. Returns their paths."""
    from engine.contact_sheet import write_contact_sheet
    from engine.formats.meshio import save_glb

    paths = [folder / f"{name}{suffix}" for suffix in (".glb", ".png", ".json")]
    placed = dataclasses.replace(result.mesh, origin=sketch.origin)
    save_glb(paths[0], placed, result.maps, name, extras=result.report)
    write_contact_sheet(paths[1], sketch, result.mesh, result.maps["albedo"])
    with writing(paths[2]):
        files.write_atomically(paths[2], (json.dumps(result.report, indent=2) + "\n").encode())
    return paths
