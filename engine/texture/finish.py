"""The end of a texture job: which images there are, what has to be unwrapped anew, and the maps of each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.conventions import SceneNormalization
from engine.mesh import Mesh, Parts
from engine.reporting import OnStep, unwatched
from engine.results import ImageSet
from engine.texture.atlas import unwrap
from engine.texture.bake import bake_channels, colour_channel
from engine.texture.detail import Colours
from engine.texture.maps import COLOURS_ALONE, MapWishes
from engine.texture.masks import Feather, base_image, composed, look_channel, mask_channel
from engine.texture.watcher import NOBODY, PADDING, Watcher
from engine.texture_sets import FIRST_TILE, SHARED_WORTH_SAYING, Piece, TextureSet, in_tile, plan, tiles_of, usable

AVERAGED = 1e-3
"""Share of a layout that lies upon other faces from which on its texels are averaged."""


def planned_sets(sketch: Mesh, grouping: str = "auto", layout: str = "keep") -> list[TextureSet]:
    """The texture sets of a mesh; those that get a new layout are not `laid`.

    grouping, layout  `texture_sets` and `uv_layout` of engine.job_fields.JobSettings
    """
    parts = parts_of(sketch)
    sets = plan(parts.pieces, parts.of_face, sketch.uvs, grouping)
    anew = {"new": 0.0, "apart": SHARED_WORTH_SAYING}.get(layout)
    return [one if anew is None or one.shared < anew else replace(one, laid=False, tiles=(FIRST_TILE,), shared=0.0) for one in sets]


def parts_of(mesh: Mesh) -> Parts:
    """What a mesh is made of; one piece where nobody said."""
    return Parts(np.zeros(len(mesh.faces), np.int32), (Piece("mesh"),)) if mesh.parts is None else mesh.parts


def told(sketch: Mesh, sets: Sequence[TextureSet], layout: str = "keep") -> list[str]:
    """What the user should know of the sets before the work begins."""
    notes = [note for one in sets if (note := one.note) is not None]
    of_face = parts_of(sketch).of_face
    for one in sets:
        own = None if sketch.uvs is None else sketch.uvs[np.isin(of_face, one.pieces)]
        if one.laid and one.tiles == (FIRST_TILE,) and own is not None and (own.min() < -1e-3 or own.max() > 1 + 1e-3):
            notes.append(f"The UV layout of '{one.name}' reaches beyond 0..1: its texture repeats there.")
        elif not one.laid and own is not None and not usable(own):
            what = "UVs that are no numbers" if np.isfinite(own).any() and not np.isfinite(own).all() else "no UV layout with an area"
            notes.append(f"'{one.name}' has {what}: it gets a new one, the others keep theirs.")
        elif not one.laid and layout != "keep":
            notes.append(f"'{one.name}' gets a new UV layout.")
    images = sum(len(one.tiles) for one in sets)
    if images > 1:
        notes.append(f"{images} images: " + ", ".join(f"'{one.name}'" + _tiles_told(one) for one in sets[:12]) + ".")
    return notes


def _tiles_told(one: TextureSet) -> str:
    return "" if len(one.tiles) == 1 else f" in UDIM tiles {', '.join(map(str, one.tiles))}"


def finish_texture(sketch: Mesh, field: Colours, normalization: SceneNormalization, texture_size: int, watcher: Watcher = NOBODY,
                   sets: Sequence[TextureSet] | None = None, feather: float = 0.0,
                   wishes: MapWishes = COLOURS_ALONE) -> tuple[Mesh, tuple[ImageSet, ...]]:  # fmt: skip
    """The sketch as it came - the same vertices, faces, colours and usable uvs, byte for byte - and the images of its texture sets.

    sets     `planned_sets`; None plans as the settings' defaults do
    feather  width over which the painting fades in from the edge of the mesh's mask, engine units
    wishes   which maps; of a mesh with a mask only the colours are made, at 8 bits: what is not painted stays as it is
    """
    sets = planned_sets(sketch) if sets is None else sets
    of_face = parts_of(sketch).of_face
    members = [np.flatnonzero(np.isin(of_face, one.pieces)) for one in sets]
    mesh = _laid_out(sketch, sets, members, texture_size, watcher)
    assert mesh.uvs is not None
    edge = None if mesh.mask is None else Feather(mesh.mapped(normalization.to_engine), feather)
    look = wishes.look(field, mesh.mapped(normalization.to_engine))
    found, on_step = [], watcher.part("bake")
    images = sum(len(one.tiles) for one in sets)
    for one, faces in zip(sets, members, strict=True):
        tiles = tiles_of(mesh.uvs[faces]) if len(one.tiles) > 1 else np.full(len(faces), FIRST_TILE)
        maps = {}
        for number in one.tiles:
            done = sum(len(other.tiles) for other in found) + len(maps)
            own = mesh.of_faces(faces[tiles == number])
            if len(one.tiles) > 1 and own.uvs is not None:
                own = replace(own, uvs=in_tile(own.uvs, number))
            size = kept_size(own, texture_size)
            if size != texture_size:
                watcher.note(f"'{one.name}' keeps the size of its image, {size} texels, so that what is not painted stays as it is.")
            step = _slice(on_step, done, images)
            if edge is None:
                maps[number] = look.bake(own, normalization, size, PADDING, on_step=step, dtype=wishes.dtype, shared=one.shared > AVERAGED)
            else:
                maps[number] = _repainted(own, field, normalization, size, step, one.shared > AVERAGED, edge)
        found.append(ImageSet(one.name, faces, maps, tiles, one.pieces))
    return mesh, tuple(found)


def kept_size(mesh: Mesh, size: int) -> int:
    """The side of the image of some faces: that of the picture that they show, where some of it is to stay; else `size`."""
    base = None if mesh.mask is None else base_image(mesh)
    return size if base is None else len(base)


def _repainted(mesh: Mesh, field: Colours, normalization: SceneNormalization, size: int, on_step: OnStep, shared: bool,
               edge: Feather) -> dict[str, np.ndarray]:  # fmt: skip
    """The maps of faces with a mask: the albedo is what they showed before, byte for byte, where nothing is painted."""
    base = base_image(mesh)
    channels = {"albedo": colour_channel(field), "share": mask_channel(mesh, edge), "base": look_channel(mesh)}
    if base is not None:
        del channels["base"]
    maps = bake_channels(mesh, channels, normalization, size, PADDING, on_step, shared=shared)
    before = maps.pop("base") if base is None else np.ascontiguousarray(base)
    share = maps.pop("share")
    return {**maps, "albedo": composed(maps["albedo"], before, share)}


def _laid_out(sketch: Mesh, sets: Sequence[TextureSet], members: Sequence[np.ndarray], size: int, watcher: Watcher) -> Mesh:
    """The mesh with layouts for the sets that have none; the others' stay byte for byte."""
    lacking = [faces for one, faces in zip(sets, members, strict=True) if not one.laid]
    if not lacking:
        return sketch
    uvs = np.zeros((len(sketch.faces), 3, 2), np.float32) if sketch.uvs is None else sketch.uvs.copy()
    on_step = watcher.part("unwrap")
    for done, faces in enumerate(lacking):
        used, local = np.unique(sketch.faces[faces], return_inverse=True)
        own = Mesh(np.ascontiguousarray(sketch.vertices[used]), local.reshape(-1, 3).astype(np.int32))
        uvs[faces] = _unwrapped(own, size, _slice(on_step, done, len(lacking)), watcher)
    return replace(sketch, uvs=uvs)


_LAYOUTS: dict[bytes, np.ndarray] = {}
MOST_LAYOUTS = 64
"""Layouts that are remembered: the variations of a job have the same."""


def _unwrapped(mesh: Mesh, size: int, on_step: OnStep, watcher: Watcher) -> np.ndarray:
    """`unwrap`, once for each mesh and size."""
    key = hashlib.sha256(mesh.vertices.tobytes() + mesh.faces.tobytes() + f"{mesh.faces.shape} {size}".encode()).digest()
    if key not in _LAYOUTS:
        while len(_LAYOUTS) >= MOST_LAYOUTS:
            del _LAYOUTS[next(iter(_LAYOUTS))]
        _LAYOUTS[key] = unwrap(mesh, size, PADDING, on_step=on_step, note=watcher.note)
    return _LAYOUTS[key]


def _slice(on_step: OnStep, index: int, count: int) -> OnStep:
    """The progress of one of `count` equal pieces of work."""
    if on_step is unwatched or count == 1:
        return on_step
    return lambda done, total, figures=None, /: on_step(index * total + done, count * total, figures)
