"""Results -> datablocks: the preview while a job runs, and the refined or textured object beside the original.

Nothing here keeps a datablock between calls: they are found again by session id, else by name. `apply_refined` and `apply_textured` either
finish or remove what they made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bpy
import numpy as np

from . import geometry, protocol
from .scene_read import Reading, current_name, mesh_from, named_now

PREVIEW_NAME = "Sketchbridge Preview"
MARK = "sketchbridge"
"""Prefix of the custom properties on results; the preview object carries MARK + "_preview"."""
MAP_COLOUR_SPACES = {"albedo": "sRGB", "roughness": "Non-Color", "metallic": "Non-Color", "normal": "Non-Color"}


def show_preview(context: bpy.types.Context, reading: Reading, update: protocol.MeshUpdate) -> None:
    """Put the growing surface into the scene, in place of the hidden originals."""
    obj = bpy.data.objects.get(PREVIEW_NAME)
    if obj is None or f"{MARK}_preview" not in obj:
        obj = _new_preview(context, reading)
    mesh = obj.data
    vertices = np.ascontiguousarray(update.vertices + reading.origin, dtype=np.float32)
    same = len(mesh.vertices) == len(vertices) and len(mesh.polygons) == len(update.faces)
    if not same:
        mesh.clear_geometry()
        fill_mesh(mesh, vertices, update.faces)
    else:
        mesh.attributes["position"].data.foreach_set("vector", vertices.ravel())
        mesh.attributes[".corner_vert"].data.foreach_set("value", np.ascontiguousarray(update.faces, dtype=np.int32).ravel())
    if update.colours is not None:
        _set_colours(mesh, update.colours)
    mesh.update(calc_edges=True)


def remove_preview() -> None:
    """Take the preview out of the file and show the originals that it replaced again, selected as they were."""
    for obj in [obj for obj in bpy.data.objects if f"{MARK}_preview" in obj]:
        replaced = _replaced_by(obj)
        mesh, materials = obj.data, [slot.material for slot in obj.material_slots]
        bpy.data.objects.remove(obj)
        bpy.data.meshes.remove(mesh)
        for material in materials:
            if material is not None and material.users == 0:
                bpy.data.materials.remove(material)
        _hide(replaced, hidden=False)
        for name in replaced:
            if name in bpy.context.view_layer.objects:
                bpy.context.view_layer.objects[name].select_set(True)  # hiding took that away


def apply_refined(context: bpy.types.Context, reading: Reading, done: protocol.Done, provenance: Mapping[str, Any]) -> bpy.types.Object:
    """The refined mesh as a new object with the original's transform, parent and collections; originals kept and hidden."""
    reading = named_now(reading)
    source = bpy.data.objects.get(reading.active)
    name = f"{reading.active} refined"
    made: list[bpy.types.ID] = []
    try:
        mesh = _made(made, bpy.data.meshes.new(name))
        obj = _made(made, bpy.data.objects.new(name, mesh))
        _link_beside(context, obj, source)
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
        mesh.materials.append(_material(name, done.maps, "UVMap", made))
        _finish(context, obj, reading.names, provenance)
    except Exception:
        _remove(made)
        raise
    return obj


def apply_textured(context: bpy.types.Context, reading: Reading, done: protocol.Done, provenance: Mapping[str, Any]) -> bpy.types.Object:
    """A copy of the original with the baked material. Vertices, faces and an existing UV layer are those of the original.

    RuntimeError where the original was deleted while the engine worked.
    """
    reading = named_now(reading)
    source = bpy.data.objects.get(reading.active)
    if source is None:
        raise RuntimeError(f"'{reading.active}' was deleted while it was textured; undo that and try again.")
    name = f"{reading.active} textured"
    made: list[bpy.types.ID] = []
    try:
        if source.type == "MESH":
            obj = _made(made, source.copy())
            obj.data = _made(made, source.data.copy())
        else:
            mesh = _made(made, mesh_from(source, context.evaluated_depsgraph_get()))
            obj = _made(made, bpy.data.objects.new(name, mesh))
        obj.name = obj.data.name = name
        _link_beside(context, obj, source)
        if source.type != "MESH":
            _copy_transform(obj, source)
        layer = _uv_layer(obj.data, reading)
        _replace_materials(obj, _material(name, done.maps, layer, made))
        _finish(context, obj, reading.names, provenance)
    except Exception:
        _remove(made)
        raise
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


def sources_of(obj: bpy.types.Object) -> list[bpy.types.Object]:
    """The originals of a result that are still in the file."""
    try:
        names = json.loads(obj.get(f"{MARK}_sources", "[]"))
    except (ValueError, TypeError):
        return []
    return [bpy.data.objects[name] for name in names if isinstance(name, str) and name in bpy.data.objects]


def result_of(obj: bpy.types.Object) -> bpy.types.Object | None:
    """`obj` itself where it is a result, else the newest result made from it, else None."""
    if f"{MARK}_sources" in obj:
        return obj
    results = [other for other in bpy.data.objects if f"{MARK}_sources" in other and obj in sources_of(other)]
    return results[-1] if results else None


def toggle(result: bpy.types.Object) -> bool:
    """Swap which of the result and its originals is shown. Returns True where the result is shown afterwards."""
    show_result = result.hide_get() or result.hide_render
    _hide([result.name], hidden=not show_result, render=True)
    _hide([obj.name for obj in sources_of(result)], hidden=show_result, render=True)
    return show_result


def _new_preview(context: bpy.types.Context, reading: Reading) -> bpy.types.Object:
    remove_preview()
    reading = named_now(reading)
    obj = bpy.data.objects.new(PREVIEW_NAME, bpy.data.meshes.new(PREVIEW_NAME))
    layer = context.view_layer.objects
    replaced = [name for name in reading.names if name in layer and not layer[name].hide_get()]
    uids = [layer[name].session_uid for name in replaced]
    obj[f"{MARK}_preview"] = json.dumps({"process": os.getpid(), "names": replaced, "uids": uids})
    obj.hide_select = True
    material = bpy.data.materials.new(PREVIEW_NAME)
    if bpy.app.version < (5, 0):
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    colour = nodes.new("ShaderNodeVertexColor")
    colour.layer_name = "Colour"
    links.new(colour.outputs["Color"], _principled(material).inputs["Base Color"])
    obj.data.materials.append(material)
    _link_beside(context, obj, bpy.data.objects.get(reading.active))
    _hide(replaced, hidden=True)
    return obj


def _replaced_by(preview: bpy.types.Object) -> list[str]:
    """The names by now of what the preview stands for; session ids mean nothing in another process than the one that gave them."""
    mark = json.loads(preview[f"{MARK}_preview"])
    if mark["process"] != os.getpid():
        return mark["names"]
    return [current_name(name, uid) for name, uid in zip(mark["names"], mark["uids"], strict=True)]


def _set_colours(mesh: bpy.types.Mesh, colours: np.ndarray) -> None:
    attribute = mesh.color_attributes.get("Colour")
    if attribute is None:
        attribute = mesh.color_attributes.new("Colour", "FLOAT_COLOR", "POINT")
    light = np.ones((len(colours), 4), np.float32)
    light[:, :3] = geometry.srgb_to_linear(colours)
    attribute.data.foreach_set("color", light.ravel())


def _link_beside(context: bpy.types.Context, obj: bpy.types.Object, source: bpy.types.Object | None) -> None:
    collections = [] if source is None else list(source.users_collection)
    for collection in collections or [context.scene.collection]:
        collection.objects.link(obj)


def _copy_transform(obj: bpy.types.Object, source: bpy.types.Object) -> None:
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
        _copy_transform(obj, source)
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


def _uv_layer(mesh: bpy.types.Mesh, reading: Reading) -> str:
    if reading.new_uvs is None:
        layer = mesh.uv_layers.active
    else:
        layer = mesh.uv_layers.new(name="UVMap")
        if len(reading.new_uvs) != len(mesh.loops):
            raise RuntimeError(f"'{reading.active}' was edited while it was textured; try again.")
        layer.uv.foreach_set("vector", reading.new_uvs.ravel())
    if layer is None:
        raise RuntimeError(f"The UV layer of '{reading.active}' was removed while it was textured; try again.")
    layer.active_render = True
    return layer.name


def _replace_materials(obj: bpy.types.Object, material: bpy.types.Material) -> None:
    for slot in obj.material_slots:
        slot.link = "DATA"
    obj.data.materials.clear()
    obj.data.materials.append(material)
    obj.data.polygons.foreach_set("material_index", np.zeros(len(obj.data.polygons), np.int32))
    obj.data.update()


def _material(name: str, maps: Mapping[str, np.ndarray], layer: str, made: list[bpy.types.ID]) -> bpy.types.Material:
    """Principled BSDF with the maps as images packed in the file."""
    material = _made(made, bpy.data.materials.new(name))
    if bpy.app.version < (5, 0):
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = _principled(material)
    shader.inputs["Roughness"].default_value = 0.7
    coordinates = nodes.new("ShaderNodeUVMap")
    coordinates.uv_map, coordinates.location = layer, (-700, 0)
    if "albedo" in maps:  # what the solid view shows
        mean = geometry.srgb_to_linear(maps["albedo"].reshape(-1, maps["albedo"].shape[-1])[:, :3] / 255).mean(axis=0)
        material.diffuse_color = (*mean.tolist(), 1.0)
    sockets = {"albedo": "Base Color", "roughness": "Roughness", "metallic": "Metallic", "normal": "Normal"}
    for row, (kind, pixels) in enumerate((kind, maps[kind]) for kind in sockets if kind in maps):
        texture = nodes.new("ShaderNodeTexImage")
        texture.image = _image(f"{name} {kind}", pixels, MAP_COLOUR_SPACES[kind], made)
        texture.location = (-450, 300 - 300 * row)
        links.new(coordinates.outputs["UV"], texture.inputs["Vector"])
        output = texture.outputs["Color"]
        if kind == "normal":
            bend = nodes.new("ShaderNodeNormalMap")
            bend.uv_map, bend.location = layer, (-180, 300 - 300 * row)
            links.new(output, bend.inputs["Color"])
            output = bend.outputs["Normal"]
        links.new(output, shader.inputs[sockets[kind]])
    return material


def _principled(material: bpy.types.Material) -> bpy.types.Node:
    """The shader of a new material, added where Blender gave none."""
    nodes = material.node_tree.nodes
    shader = next((node for node in nodes if node.type == "BSDF_PRINCIPLED"), None)
    if shader is None:
        shader, output = nodes.new("ShaderNodeBsdfPrincipled"), nodes.new("ShaderNodeOutputMaterial")
        output.location = (300, 0)
        material.node_tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    return shader


def _image(name: str, pixels: np.ndarray, colour_space: str, made: list[bpy.types.ID]) -> bpy.types.Image:
    """uint8 [H, W, 1|3|4], row 0 at the top -> an 8-bit image packed in the file."""
    height, width, channels = pixels.shape
    image = _made(made, bpy.data.images.new(name, width, height, alpha=channels == 4))
    image.colorspace_settings.name = colour_space
    values = np.ones((height, width, 4), np.float32)
    values[..., :3] = pixels[::-1, :, : max(channels, 1) if channels < 3 else 3] / np.float32(255)
    if channels == 4:
        values[..., 3] = pixels[::-1, :, 3] / np.float32(255)
    image.pixels.foreach_set(values.ravel())
    image.update()
    image.pack()
    return image


def _finish(context: bpy.types.Context, obj: bpy.types.Object, names: Sequence[str], provenance: Mapping[str, Any]) -> None:
    for key in [key for key in obj.keys() if key.startswith(f"{MARK}_")]:  # noqa: SIM118  of the result that it is a copy of
        del obj[key]
    obj[f"{MARK}_sources"] = json.dumps(list(names))
    for key, value in provenance.items():
        obj[f"{MARK}_{key}"] = value if isinstance(value, str | int | float) and not _too_long(value) else json.dumps(value)
    obj.hide_render = False
    _hide(names, hidden=True, render=True)
    for other in context.view_layer.objects:
        other.select_set(False)
    if obj.name in context.view_layer.objects:
        obj.hide_set(False)
        obj.select_set(True)
        context.view_layer.objects.active = obj


def _too_long(value: object) -> bool:
    return isinstance(value, int) and not -(2**31) <= value < 2**31


def _hide(names: Sequence[str], hidden: bool, render: bool = False) -> None:
    layer = bpy.context.view_layer
    for name in names:
        obj = layer.objects.get(name)
        if obj is not None:
            obj.hide_set(hidden)
            if render:
                obj.hide_render = hidden


def _made(made: list[bpy.types.ID], block: Any) -> Any:
    made.append(block)
    return block


_REMOVERS: dict[type, Callable[[], Any]] = {
    bpy.types.Object: lambda: bpy.data.objects, bpy.types.Mesh: lambda: bpy.data.meshes,
    bpy.types.Material: lambda: bpy.data.materials, bpy.types.Image: lambda: bpy.data.images,
}  # fmt: skip


def _remove(made: list[bpy.types.ID]) -> None:
    """Take back datablocks of an attempt that failed, objects first."""
    for block in sorted(made, key=lambda block: list(_REMOVERS).index(type(block)) if type(block) in _REMOVERS else 0):
        _REMOVERS[type(block)]().remove(block)
