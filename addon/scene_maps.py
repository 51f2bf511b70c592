"""Maps in a material: which image goes to which socket, in which colour space; and images as files beside the .blend."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import bpy

SOCKETS = {"albedo": "Base Color", "roughness": "Roughness", "metallic": "Metallic", "normal": "Normal"}
UNLINKED = ("height", "coverage")
"""Maps that come along as nodes that nothing uses: what they are for is the artist's choice."""
KINDS = ("albedo", "orm", "roughness", "metallic", "normal", "occlusion", *UNLINKED)
LINEAR = ("Linear Rec.709", "Linear", "Non-Color")
"""Blender's names, new and old, for what an EXR file's colours are in."""
GLTF_GROUP = "glTF Material Output"
"""The node group whose input "Occlusion" Blender's glTF exporter looks for; a render takes no notice of it."""


def suffix_of(file: bytes) -> str:
    """Of a map's file by what it begins with."""
    return ".exr" if file[:4] == b"\x76\x2f\x31\x01" else ".png"


def set_colour_space(image: bpy.types.Image, kind: str, suffix: str) -> None:
    """What the numbers of a map mean: colours in PNG are sRGB, in EXR linear; all else is no colour."""
    known = image.colorspace_settings.bl_rna.properties["name"].enum_items.keys()
    wanted = ("Non-Color",) if kind != "albedo" else LINEAR if suffix == ".exr" else ("sRGB",)
    image.colorspace_settings.name = next((name for name in wanted if name in known), "Non-Color")


def wire(material: bpy.types.Material, shader: bpy.types.Node, layer: str, images: dict[str, bpy.types.Image],
         new_group: Callable[[str], bpy.types.NodeTree], repeated: bool = True) -> None:  # fmt: skip
    """Image nodes for the maps, looked up by the UV layer of this name, and their links to the shader.

    repeated   the images go on across their borders; otherwise their last texels do, and nothing of the opposite side is mixed in
    new_group  makes an empty node group of a name, where the file has none of it yet
    """
    nodes, links = material.node_tree.nodes, material.node_tree.links
    coordinates = nodes.new("ShaderNodeUVMap")
    coordinates.uv_map, coordinates.location = layer, (-900, 0)
    for row, kind in enumerate(kind for kind in KINDS if kind in images):
        texture = nodes.new("ShaderNodeTexImage")
        texture.image, texture.label, texture.extension = images[kind], kind, "REPEAT" if repeated else "EXTEND"
        texture.location = (-650, 300 - 300 * row)
        links.new(coordinates.outputs["UV"], texture.inputs["Vector"])
        if kind == "albedo":
            nodes.active = texture  # what the solid view shows as texture, and Texture Paint paints on
        if kind == "orm":
            split = nodes.new("ShaderNodeSeparateColor")
            split.location = (-300, 300 - 300 * row)
            links.new(texture.outputs["Color"], split.inputs[0])
            links.new(split.outputs[0], _occlusion_input(material, new_group))
            links.new(split.outputs[1], shader.inputs["Roughness"])
            links.new(split.outputs[2], shader.inputs["Metallic"])
        elif kind == "normal":
            bend = nodes.new("ShaderNodeNormalMap")
            bend.uv_map, bend.location = layer, (-300, 300 - 300 * row)
            links.new(texture.outputs["Color"], bend.inputs["Color"])
            links.new(bend.outputs["Normal"], shader.inputs["Normal"])
        elif kind == "occlusion":
            links.new(texture.outputs["Color"], _occlusion_input(material, new_group))
        elif kind in SOCKETS:
            links.new(texture.outputs["Color"], shader.inputs[SOCKETS[kind]])


def _occlusion_input(material: bpy.types.Material, new_group: Callable[[str], bpy.types.NodeTree]) -> bpy.types.NodeSocket:
    """Where glTF files get their ambient occlusion from; Cycles and EEVEE make their own."""
    tree = bpy.data.node_groups.get(GLTF_GROUP)
    if tree is None or tree.bl_idname != "ShaderNodeTree":
        tree = new_group(GLTF_GROUP)
    if not any(item.name == "Occlusion" for item in tree.interface.items_tree):
        tree.interface.new_socket("Occlusion", in_out="INPUT", socket_type="NodeSocketFloat")
    node = material.node_tree.nodes.new("ShaderNodeGroup")
    node.node_tree, node.label, node.location = tree, "For glTF", (0, -400)
    return node.inputs["Occlusion"]


@contextlib.contextmanager
def tiles_on_disk(objects: Sequence[bpy.types.Object]) -> Iterator[None]:
    """Inside, the packed tiles of what objects show lie in files too: Blender's glTF exporter reads UDIM tiles from there alone."""
    materials = {slot.material for obj in objects for slot in obj.material_slots if slot.material is not None}
    shown = {node.image for one in materials if one.node_tree for node in one.node_tree.nodes if node.type == "TEX_IMAGE" and node.image}
    before = {image: image.filepath_raw for image in shown if image.source == "TILED" and len(image.packed_files)}
    with tempfile.TemporaryDirectory(prefix="sketchbridge-") as folder:
        try:
            for image, path in before.items():
                name = f"{bpy.path.clean_name(image.name)}.<UDIM>{Path(path).suffix}"
                for tile, packed in zip(image.tiles, image.packed_files, strict=True):
                    (Path(folder) / name.replace("<UDIM>", str(tile.number))).write_bytes(packed.packed_file.data)
                image.filepath_raw = str(Path(folder) / name)
            yield
        finally:
            for image, path in before.items():
                image.filepath_raw = path


def write_beside(folder: Path, name: str, file: bytes, number: int | None = None) -> Path:
    """A map as a file in `folder`, never over one that is there; UDIM tiles have their number in the name."""
    stem, tile = bpy.path.clean_name(name), "" if number is None else f".{number}"
    path, again = folder / f"{stem}{tile}{suffix_of(file)}", 1
    while path.exists():
        again += 1
        path = folder / f"{stem}_{again}{tile}{suffix_of(file)}"
    path.write_bytes(file)
    return path
