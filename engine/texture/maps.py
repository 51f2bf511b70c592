"""The maps of a finished surface as functions of its places, for refine and texture alike: what `engine.texture.bake` writes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.conventions import SceneNormalization
from engine.mesh import Mesh
from engine.render.rays import RayCaster
from engine.reporting import OnStep, unwatched
from engine.texture.bake import Channel, Places, bake_channels, colour_channel
from engine.texture.coverage import Coverage, face_normals
from engine.texture.detail import Colours
from engine.texture.geometry_maps import FineSurface, Occlusion
from engine.texture.material_words import NOTHING_SAID, MaterialsOfParts

KINDS = {
    "albedo": ("albedo",),
    "pbr": ("albedo", "roughness", "metallic", "normal", "occlusion"),
    "all": ("albedo", "roughness", "metallic", "normal", "occlusion", "height", "coverage"),
}
"""What the setting `maps` asks for. A normal and a height map need a finer surface than the mesh: only refined ones have it."""
OF_FINE = ("normal", "height")


def texel_bytes(kinds: tuple[str, ...], dtype: type[np.generic], refined: bool) -> int:
    """Bytes of one texel in all of these maps together."""
    made = [kind for kind in kinds if refined or kind not in OF_FINE]
    return np.dtype(dtype).itemsize * sum(3 if kind in ("albedo", "normal") else 1 for kind in made)


@dataclass(frozen=True)
class MapWishes:
    """What a job wants of its maps beside the colours.

    kinds      of KINDS; dtype: how a map's numbers are held, np.uint8, np.uint16 or np.float32
    materials  of the whole and its pieces
    coverage, keep  see `Look`
    """

    kinds: tuple[str, ...] = KINDS["albedo"]
    dtype: type[np.generic] = np.uint8
    materials: MaterialsOfParts = NOTHING_SAID
    coverage: Coverage | None = None
    keep: np.ndarray | None = None

    def look(self, colours: Colours, whole: Mesh, fine: Mesh | None = None) -> Look:
        """The look of a mesh with these colours; both meshes in engine space."""
        return Look(colours, whole, self.kinds, self.materials, self.coverage, self.keep, fine)


COLOURS_ALONE = MapWishes()


@dataclass(frozen=True)
class Look:
    """Everything that the maps of a mesh show.

    colours    of places in engine space
    whole      the whole mesh, engine space: what shades its parts
    kinds      the maps that are wanted, of KINDS
    materials  of the whole and its pieces
    coverage   what the job's views saw, None where that is not known
    keep       bool [N] of the coverage's points: their colour is somebody's choice, seen or not
    fine       the finer surface that `whole` was made from, engine space
    """

    colours: Colours
    whole: Mesh
    kinds: tuple[str, ...] = KINDS["albedo"]
    materials: MaterialsOfParts = NOTHING_SAID
    coverage: Coverage | None = None
    keep: np.ndarray | None = None
    fine: Mesh | None = None

    def bake(self, mesh: Mesh, normalization: SceneNormalization, size: int, padding: int, **more: Any) -> dict[str, np.ndarray]:
        """The maps of a mesh with uvs in world space, the whole or some of its faces; `more` as `bake_channels` takes it."""
        channels = self.channels(mesh, normalization, more.get("on_step", unwatched))
        return bake_channels(mesh, channels, normalization, size, padding, **more)

    def channels(self, mesh: Mesh, normalization: SceneNormalization, on_step: OnStep = unwatched) -> dict[str, Channel]:
        """A function of the places of this mesh for each wanted map that there is. on_step hears of each: their trees take a while."""
        normals = face_normals(mesh.corner_vertices())
        reflecting = self.materials.of_faces(None if mesh.parts is None else mesh.parts.of_face)
        found = {}
        for kind in self.kinds:
            on_step(0, 1)
            found[kind] = self._channel(kind, normals, reflecting, on_step)
        if self.fine is not None and {*OF_FINE} & {*self.kinds}:
            on_step(0, 1)
            fine = FineSurface(self.fine, mesh.mapped(normalization.to_engine))
            found.update({kind: channel for kind, channel in (("normal", fine.normals), ("height", fine.heights)) if kind in self.kinds})
        return {kind: channel for kind, channel in found.items() if channel is not None}

    def _channel(self, kind: str, normals: np.ndarray, reflecting: np.ndarray, on_step: OnStep) -> Channel | None:
        if kind == "albedo":
            return self._albedo(normals)
        if kind in ("roughness", "metallic"):
            values = reflecting[:, ("roughness", "metallic").index(kind), None]
            return lambda places: values[places.faces if len(values) > 1 else np.zeros(len(places.faces), np.int64)]
        if kind == "occlusion":
            return self._occlusion(on_step).channel(normals)
        if kind == "coverage" and self.coverage is not None:
            seen, points = (self.coverage.density > 0).astype(np.float32)[:, None], self.coverage.places
            return lambda places: points.spread(seen, places.points, normals[places.faces])
        return None

    def _albedo(self, normals: np.ndarray) -> Channel:
        """The colours; where no view looked and nobody chose any, those of the neighbours on the surface."""
        plain = colour_channel(self.colours)
        if self.coverage is None or not len(self.coverage.places):
            return plain
        points, seen = self.coverage.places, self.coverage.density > 0
        known = seen if self.keep is None else seen | self.keep
        if known.all() or not known.any():
            return plain
        own = plain(Places(points.points, points.faces, np.zeros((len(points), 3))))
        filled = np.concatenate([self.coverage.filled(own, known), known[:, None]], axis=1).astype(np.float32)

        def albedo(places: Places) -> np.ndarray:
            around = points.spread(filled, places.points, normals[places.faces])
            share = np.clip(around[:, 3:], 0, 1)
            return share * plain(places) + (1 - share) * around[:, :3]

        return albedo

    def _occlusion(self, on_step: OnStep) -> Occlusion:
        """Of the whole, for all of its parts."""
        if not self._known:
            self._known.append(Occlusion(self.whole, RayCaster(self.whole.vertices, self.whole.faces), on_step=on_step))
        return self._known[0]

    @functools.cached_property
    def _known(self) -> list[Occlusion]:
        return []
