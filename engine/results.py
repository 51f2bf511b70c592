"""What a job returns, and how the command line writes it into a folder."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError, writing
from engine.formats import files
from engine.formats.map_files import SUFFIXES, eight_bits, encode_map, packed
from engine.mesh import Mesh, Painted
from engine.texture_sets import FIRST_TILE


@dataclass(frozen=True)
class ImageSet:
    """The images of some faces of a mesh.

    name     of their material
    faces    indices int64 [N] of the mesh's faces
    tiles    UDIM number -> maps [H, W, C], uint8, uint16 or float32, row 0 at the top, by their kind (engine.texture.maps.KINDS); albedo is
             sRGB-encoded. {1001: ...} for a layout in one square
    of_face  int [N], the tile of each of the faces
    pieces   indices of the mesh's pieces that the faces are (engine.mesh.Parts)
    """

    name: str
    faces: np.ndarray
    tiles: dict[int, dict[str, np.ndarray]]
    of_face: np.ndarray
    pieces: tuple[int, ...] = (0,)

    @classmethod
    def whole(cls, mesh: Mesh, maps: dict[str, np.ndarray], name: str = "") -> ImageSet:
        """One image for all of a mesh."""
        return cls(name, np.arange(len(mesh.faces)), {FIRST_TILE: maps}, np.full(len(mesh.faces), FIRST_TILE))

    def painted(self) -> list[Painted]:
        """A material for each tile, its maps at 8 bits."""
        found = []
        for number, maps in self.tiles.items():
            name = self.name if len(self.tiles) == 1 else f"{self.name} {number}"
            found.append(Painted(name, self.faces[self.of_face == number], {kind: eight_bits(image) for kind, image in maps.items()}))
        return found


@dataclass(frozen=True)
class JobResult:
    """The finished object.

    mesh    world space, with per-corner uvs; in texture mode exactly the mesh that came in (plus uvs where it had none)
    images  of each texture set; a refined mesh has one
    delivered  to be called once the result is where it belongs: nothing needs to be kept for another try
    report  JSON-able: deviation_mean_percent, deviation_p95_percent, stage_seconds, prompt, seed, model, preset, versions, notes ...
    variations  of a job that was to make several, those after this one
    """

    mesh: Mesh
    images: tuple[ImageSet, ...]
    report: dict[str, Any] = field(default_factory=dict)
    delivered: Callable[[], None] = field(default=lambda: None, compare=False)
    variations: tuple[JobResult, ...] = ()

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """The maps of the first image."""
        return next(iter(self.images[0].tiles.values()))

    @property
    def everything(self) -> list[tuple[int, ImageSet]]:
        """Each image of this result and of its variations, with the number of the variation, 0 for this one."""
        return [(number, one) for number, result in enumerate((self, *self.variations)) for one in result.images]

    @property
    def painted(self) -> list[Painted]:
        """A material for each tile of each image."""
        return [one for images in self.images for one in images.painted()]


def versions() -> dict[str, str]:
    """Versions of what decides a result, for provenance."""
    found = {}
    for package in ("sketchbridge", "torch", "diffusers", "warp-lang"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "source"
        except OSError:  # no descriptor is left to read them with: a result is worth more than its provenance
            found[package] = "unknown"
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


OF_THE_RUN = ("stage_seconds", "notes")
"""What of a report tells of the run, not of the result: it stays out of the .glb, so that the same job gives the same bytes."""


def write_result(result: JobResult, sketch: Mesh, folder: Path, name: str, sheet: bool = True) -> list[Path]:
    """Write NAME.glb, NAME.png (before and after, if a `sheet` is wanted) and NAME.json into `folder`; each file is whole or absent.

    Variations are NAME-2.glb, NAME-2.json and so on; the one picture shows all. Returns the paths.
    """
    from engine.contact_sheet import write_contact_sheet
    from engine.formats.meshio import save_glb

    glb, picture, text = (folder / f"{name}{suffix}" for suffix in (".glb", ".png", ".json"))
    placed = dataclasses.replace(result.mesh, origin=sketch.origin)
    told = {key: _rounded(value) for key, value in result.report.items() if key not in OF_THE_RUN}
    save_glb(glb, placed, result.painted, name, extras=told, creased=result.report.get("mode") == "texture")
    if sheet:
        others = [(f"seed {one.report.get('seed')}", one.painted) for one in result.variations]
        write_contact_sheet(picture, sketch, result.mesh, result.painted, others=others)
    with writing(text):
        files.write_atomically(text, (json.dumps(result.report, indent=2) + "\n").encode())
    paths = [glb, *([picture] if sheet else []), text]
    for number, one in enumerate(result.variations, 2):
        paths += write_result(one, sketch, folder, f"{name}-{number}", sheet=False)
    return paths


def _rounded(value: Any) -> Any:
    """A figure as far as it is the same wherever it is worked out: the order of sums, and so their last digits, follows the threads."""
    return round(value, 9) if isinstance(value, float) else value


def write_maps(result: JobResult, folder: Path, name: str, form: str = "png8", packing: str = "separate") -> list[Path]:
    """Every map as a file: NAME_albedo.png; of several texture sets NAME_SET_albedo.png, of UDIM tiles NAME_SET_albedo.1002.png.

    form, packing  `map_format` and `packing` of engine.job_fields.JobSettings
    """
    written = []
    for one in result.images:
        own = re.sub(r"[^\w.-]+", "_", one.name)
        stem = name if len(result.images) == 1 else f"{name}_{own}"
        for tile, maps in one.tiles.items():
            for kind, image in packed(maps, packing).items():
                number = "" if len(one.tiles) == 1 else f".{tile}"
                path = folder / f"{stem}_{kind}{number}{SUFFIXES[form]}"
                with writing(path):
                    files.write_atomically(path, encode_map(kind, image, form))
                written.append(path)
    for count, one in enumerate(result.variations, 2):
        written += write_maps(one, folder, f"{name}-{count}", form, packing)
    return written
