"""Results -> datablocks: the refined object beside the original (textured ones: see scene_textured).

Nothing here keeps a datablock between calls: they are found again by session id, else by name. `apply_refined` either finishes or leaves
nothing behind.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import bpy
import numpy as np

from . import geometry, messages
from .scene_materials import Attempt, Images
from .scene_read import Reading, named_now
from .scene_show import MARK, hide, select_only, variants_of

SHARP = math.radians(50)
"""Edges that bend by more are shaded as edges: those of boards are, facets of a round body are not."""


def apply_refined(context: bpy.types.Context, reading: Reading, done: messages.Done, provenance: Mapping[str, Any]) -> bpy.types.Object:
    """The refined mesh as a new object with the original's transform, parent and collections; originals kept and hidden.

    In the scene and view layer of the job. What was dreamt stands upright where the job began, in the scene's own collection.
    """
    source = reading.leader()
    reading = named_now(reading)
    name = f"{reading.active} refined" if reading.names else reading.active
    with reading.place.entered(context) as layer, Attempt() as attempt:
        selected = reading.selection.holds(layer)
        mesh = attempt.add(bpy.data.meshes.new(name))
        obj = attempt.add(bpy.data.objects.new(name, mesh))
        link_beside(context, obj, source)
        matrix = _take_transform(context, obj, source, reading.matrix)
        world = done.vertices.astype(np.float64) + reading.origin
        local = geometry.transform(np.linalg.inv(matrix), world).astype(np.float32)
        mirrored = geometry.is_mirrored(matrix)
        faces = done.faces[:, ::-1] if mirrored else done.faces
        fill_mesh(mesh, local, faces)
        if done.uvs is not None:
            uvs = done.uvs[:, ::-1] if mirrored else done.uvs
            mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", np.ascontiguousarray(uvs, dtype=np.float32).ravel())
        mesh.shade_smooth()
        mesh.update(calc_edges=True)
        mesh.set_sharp_from_angle(angle=SHARP)
        mesh.materials.append(Images(done, attempt).material(0, name, "UVMap"))
        mark(layer, obj, reading.objects(), provenance, list(reading.names))
        select_results(layer, [obj], selected)
    return obj


def fill_mesh(mesh: bpy.types.Mesh, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Vertices float32 [V, 3] and triangles [F, 3] into an empty mesh; call mesh.update(calc_edges=True) at the end."""
    faces = np.ascontiguousarray(faces, dtype=np.int32)
    mesh.vertices.add(len(vertices))
    mesh.attributes["position"].data.foreach_set("vector", np.ascontiguousarray(vertices, dtype=np.float32).ravel())
    mesh.loops.add(faces.size)
    mesh.attributes[".corner_vert"].data.foreach_set("value", faces.ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))


def link_beside(context: bpy.types.Context, obj: bpy.types.Object, source: bpy.types.Object | None) -> None:
    """Put `obj` into the collections of `source`; where there is none into the active one, as Blender does with what is added, or into
    the scene's own where that is out of sight or another file's."""
    collections = [] if source is None else list(source.users_collection)
    active = context.view_layer.active_layer_collection
    usable = active.is_visible and not active.exclude and active.collection.library is None
    for collection in collections or [active.collection if usable else context.scene.collection]:
        collection.objects.link(obj)


def copy_transform(obj: bpy.types.Object, source: bpy.types.Object) -> None:
    """The source's parent, location, rotation and scale."""
    obj.parent, obj.parent_type, obj.parent_bone = source.parent, source.parent_type, source.parent_bone
    obj.parent_vertices = source.parent_vertices
    obj.matrix_parent_inverse = source.matrix_parent_inverse
    obj.rotation_mode = source.rotation_mode
    for name in ("location", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale"):
        setattr(obj, name, getattr(source, name))
    for name in ("delta_location", "delta_rotation_euler", "delta_rotation_quaternion", "delta_scale"):
        setattr(obj, name, getattr(source, name))


def _take_transform(context: bpy.types.Context, obj: bpy.types.Object, source: bpy.types.Object | None, wanted: np.ndarray) -> np.ndarray:
    """Give `obj` the world matrix `wanted` [4, 4], by the source's own transform where that yields it. Returns what it got.

    A matrix that cannot be undone gives the identity. Vertices are computed from the returned matrix, so that the
    surface is in its place whatever constraints or shear prevent.
    """
    if geometry.is_singular(wanted):
        return np.eye(4)
    if source is not None:
        copy_transform(obj, source)
        context.view_layer.update()
        if _close(obj.matrix_world, wanted):
            return np.array(obj.matrix_world, dtype=np.float64)
        if obj.parent is not None and not geometry.is_singular(np.array(obj.parent.matrix_world)):
            _reset_basis(obj)
            context.view_layer.update()
            undo_parent = np.linalg.inv(np.array(obj.matrix_world, dtype=np.float64))
            obj.matrix_parent_inverse = _as_matrix(np.array(obj.matrix_parent_inverse, dtype=np.float64) @ undo_parent @ wanted)
            context.view_layer.update()
            if _close(obj.matrix_world, wanted):
                return np.array(obj.matrix_world, dtype=np.float64)
        obj.parent = None
        _reset_basis(obj)
    obj.matrix_world = _as_matrix(wanted)
    context.view_layer.update()
    return np.array(obj.matrix_world, dtype=np.float64)


def _reset_basis(obj: bpy.types.Object) -> None:
    obj.location, obj.scale, obj.rotation_mode, obj.rotation_euler = (0, 0, 0), (1, 1, 1), "XYZ", (0, 0, 0)
    obj.delta_location, obj.delta_scale, obj.delta_rotation_euler = (0, 0, 0), (1, 1, 1), (0, 0, 0)


def _close(matrix: Any, wanted: np.ndarray) -> bool:
    return bool(np.allclose(np.array(matrix), wanted, rtol=1e-6, atol=1e-6 * float(np.abs(wanted).max())))


def _as_matrix(matrix: np.ndarray) -> Any:
    from mathutils import Matrix

    return Matrix(matrix.tolist())


def mark(
    layer: bpy.types.ViewLayer, obj: bpy.types.Object, sources: Sequence[bpy.types.Object], provenance: Mapping[str, Any],
    names: list[str] | None = None,
) -> None:  # fmt: skip
    """Mark the result of these originals, whose names are told where some of them are gone; they and earlier results are hidden."""
    note(obj, [source.name for source in sources] if names is None else names, provenance)
    hide(layer, [*sources, *(variant for variant in variants_of(sources) if variant != obj)], hidden=True, render=True)
    obj.hide_render = False


def note(obj: bpy.types.Object, sources: Sequence[str], provenance: Mapping[str, Any]) -> None:
    """Write on a result what it was made from, by names, and how."""
    for key in [key for key in obj.keys() if key.startswith(f"{MARK}_")]:  # noqa: SIM118  of the result that it is a copy of
        del obj[key]
    obj[f"{MARK}_sources"] = json.dumps(list(sources))
    for key, value in provenance.items():
        obj[f"{MARK}_{key}"] = value if isinstance(value, str | int | float) and not _too_long(value) else json.dumps(value)


def select_results(layer: bpy.types.ViewLayer, results: Sequence[bpy.types.Object], alone: bool) -> None:
    """Show the results; select them alone, or leave the selection that the user has made meanwhile."""
    there = [obj for obj in results if obj.name in layer.objects]
    for obj in there:
        obj.hide_set(False, view_layer=layer)
        if not alone:
            obj.select_set(False, view_layer=layer)
    if alone and there:
        select_only(layer, there)


def _too_long(value: object) -> bool:
    return isinstance(value, int) and not -(2**31) <= value < 2**31
