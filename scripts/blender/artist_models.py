"""Three models laid out as artists lay them out, built in the open Blender file: several objects, mirrored halves, UDIM tiles.

A house of five objects in three materials, each with the whole UV square to itself; a mushroom whose left and right half lie upon each
other; a car whose body, cabin and wheels lie in three UDIM tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scripts.prior.data.shapes import Mesh, box, cylinder, dome_points, joined, lathe, loft, oval

if TYPE_CHECKING:
    import bpy

SQUARE = (0.0, 0.0, 1.0, 1.0)
HALVES = ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0))
MARGIN = 0.02
"""Of a cell's side, left free along its borders."""
SHARP = math.radians(40)


@dataclass(frozen=True)
class Patch:
    """A shape, its material, and the rectangle of UV space (u, v, u, v) that it is laid out in."""

    shape: Mesh
    material: str
    room: tuple[float, float, float, float] = SQUARE


@dataclass(frozen=True)
class ArtistModel:
    """What a model should become, its objects, whether its halves share their UVs, and from where it is looked at (degrees)."""

    prompt: str
    objects: Callable[[], Mapping[str, Sequence[Patch]]]
    mirrored: bool = False
    azimuths: tuple[float, ...] = (30.0, 215.0)

    def build(self) -> list[bpy.types.Object]:
        """The objects, in the open file's scene, selected; faces outwards, no look but a material's name."""
        import bpy

        made = [_object(name, patches, self.mirrored) for name, patches in self.objects().items()]
        bpy.context.view_layer.update()
        for one in bpy.context.view_layer.objects:
            one.select_set(one in made)
        bpy.context.view_layer.objects.active = made[0]
        return made


def cube_layout(corners: Sequence[np.ndarray], room: tuple[float, float, float, float], mirrored: bool = False) -> list[np.ndarray]:
    """UVs of faces given by their corners [N, 3]: each looked at along the axis that it faces most, in one of 3 x 2 cells of a rectangle.

    mirrored  places at x and -x are one
    """
    cells: dict[int, list[int]] = {}
    for index, face in enumerate(corners):
        normal = np.sum([np.cross(face[i] - face[0], face[i + 1] - face[0]) for i in range(1, len(face) - 1)], axis=0)
        if mirrored and face[:, 0].mean() < 0:
            normal = normal * np.array([-1, 1, 1])
        axis = int(np.abs(normal).argmax())
        cells.setdefault(2 * axis + int(normal[axis] < 0), []).append(index)
    seen = [np.abs(face) * [1, 0, 0] + face * [0, 1, 1] if mirrored else face for face in corners]
    low, high = np.concatenate(seen).min(axis=0), np.concatenate(seen).max(axis=0)
    scale = (1 - 2 * MARGIN) / max(float((high - low).max()), 1e-9)
    first, size = np.array(room[:2]), (np.array(room[2:]) - room[:2]) / [3, 2]
    found = [np.zeros((len(face), 2)) for face in corners]
    for cell, members in cells.items():
        aside = [axis for axis in range(3) if axis != cell // 2]
        for index in members:
            inside = (seen[index] - low)[:, aside] * scale + MARGIN
            found[index] = first + size * (inside + np.array([cell % 3, cell // 3]))
    return found


def _object(name: str, patches: Sequence[Patch], mirrored: bool) -> bpy.types.Object:
    import bmesh
    import bpy

    whole = joined(*(patch.shape for patch in patches))
    of_face = np.repeat(np.arange(len(patches)), [len(patch.shape.faces) for patch in patches])
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(whole.vertices.tolist(), [], whole.faces)
    edited = bmesh.new()
    edited.from_mesh(mesh)
    bmesh.ops.recalc_face_normals(edited, faces=edited.faces[:])
    edited.to_mesh(mesh)
    edited.free()
    _lay_out(mesh, patches, of_face, mirrored)
    names = list(dict.fromkeys(patch.material for patch in patches))
    for material in names:
        mesh.materials.append(bpy.data.materials.get(material) or bpy.data.materials.new(material))
    mesh.polygons.foreach_set("material_index", np.array([names.index(patches[int(index)].material) for index in of_face], np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(of_face), bool))
    mesh.set_sharp_from_angle(angle=SHARP)
    made = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(made)
    return made


def _lay_out(mesh: bpy.types.Mesh, patches: Sequence[Patch], of_face: np.ndarray, mirrored: bool) -> None:
    """Give the mesh a layer in which each patch fills its rectangle."""
    layer = mesh.uv_layers.new(name="Artist's")
    place = np.array([vertex.co for vertex in mesh.vertices])
    uvs = np.zeros((len(mesh.loops), 2), np.float32)
    for number, patch in enumerate(patches):
        faces = [mesh.polygons[index] for index in np.flatnonzero(of_face == number)]
        for face, uv in zip(faces, cube_layout([place[list(face.vertices)] for face in faces], patch.room, mirrored), strict=True):
            uvs[face.loop_start : face.loop_start + face.loop_total] = uv
    layer.uv.foreach_set("vector", uvs.ravel())


def house() -> dict[str, list[Patch]]:
    """Walls with gables, a roof of two slabs, a door, a chimney and two windows."""
    width, depth, height, rise = 0.8, 0.6, 0.42, 0.3
    walls = loft([np.array([(x, -depth / 2, 0), (x, depth / 2, 0), (x, depth / 2, height), (x, 0, height + rise), (x, -depth / 2, height)])
                  for x in (-width / 2, width / 2)])  # fmt: skip
    out, thick = 0.06, 0.04
    low = height - rise * out / (depth / 2)
    slabs = [
        loft([np.array([(x, side * (depth / 2 + out), low), (x, 0, height + rise), (x, 0, height + rise + thick),
                        (x, side * (depth / 2 + out), low + thick)]) for x in (-width / 2 - out, width / 2 + out)])
        for side in (-1, 1)
    ]  # fmt: skip
    door = box(0.15, 0.04, 0.27).moved(0.05, -depth / 2, 0.135)
    chimney = box(0.1, 0.1, 0.28).moved(0.22, 0.12, height + 0.28)
    panes = [box(0.13, 0.03, 0.14).moved(x, -depth / 2, 0.26) for x in (-0.22, 0.28)]
    return {
        "Walls": [Patch(walls, "Plaster")],
        "Roof": [Patch(slab, "Tiles", room) for slab, room in zip(slabs, HALVES, strict=True)],
        "Door": [Patch(door, "Wood")],
        "Chimney": [Patch(chimney, "Tiles")],
        "Windows": [Patch(pane, "Plaster", room) for pane, room in zip(panes, HALVES, strict=True)],
    }


def mushroom() -> dict[str, list[Patch]]:
    """A cap on a stalk; the cap's UVs fill the left of the square, the stalk's the right."""
    stalk = lathe([(1e-3, 0), (0.13, 0), (0.12, 0.08), (0.09, 0.22), (0.085, 0.42), (0.1, 0.5)], 32)
    rim = [(0.08, 0.49), (0.28, 0.46), (0.34, 0.49)]
    cap = lathe(rim + [(r, 0.51 + z) for r, z in dome_points(0.33, 0.24, 10)], 48)
    return {"Mushroom": [Patch(cap, "Skin", (0, 0, 0.62, 1)), Patch(stalk, "Skin", (0.62, 0, 1, 1))]}


def car() -> dict[str, list[Patch]]:
    """A rounded body in tile 1001, the cabin in 1002, four wheels in the quarters of 1003; the nose looks to -y."""

    def hull(stations: Sequence[tuple[float, float, float, float]]) -> Mesh:
        rings = [oval(width, height, 28, 4) + np.array([x, 0, z]) for x, z, width, height in stations]
        return loft(rings).rotated("z", -math.pi / 2)

    ends = (-0.66, 0.22, 0.2, 0.08), (0.66, 0.19, 0.2, 0.06)
    body = hull([ends[0], (-0.62, 0.23, 0.27, 0.11), (0, 0.25, 0.3, 0.14), (0.6, 0.21, 0.27, 0.1), ends[1]])
    cabin = hull([(-0.5, 0.36, 0.25, 0.03), (-0.38, 0.4, 0.24, 0.16), (0.05, 0.4, 0.24, 0.16), (0.23, 0.34, 0.25, 0.02)])
    wheel = cylinder(0.13, 0.1, 28).moved(z=-0.05).rotated("y", math.pi / 2)
    places = [(x, y) for y in (-0.41, 0.41) for x in (-0.26, 0.26)]
    rooms = [(2 + u, v, 2.5 + u, v + 0.5) for u in (0, 0.5) for v in (0, 0.5)]
    wheels = [Patch(wheel.moved(x, y, 0.13), "Paint", room) for (x, y), room in zip(places, rooms, strict=True)]
    return {"Car": [Patch(body, "Paint"), Patch(cabin, "Paint", (1, 0, 2, 1)), *wheels]}


MODELS = {
    "house": ArtistModel("a white house with a red roof and a brown door", house),
    "mushroom": ArtistModel("a red mushroom with a white stalk", mushroom, mirrored=True),
    "car": ArtistModel("a blue car with black wheels", car),
}
"""Of several objects; mirrored; in UDIM tiles."""
