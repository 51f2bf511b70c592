"""Materials of results: Principled BSDF with the baked maps as packed images, and the roll-back of an attempt that fails."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import bpy
import numpy as np

from . import geometry, messages, scene_maps
from .texture_sets import set_of_map


class Attempt:
    """New datablocks, all or none: leaving the context by an error removes them again, objects first."""

    _COLLECTIONS = (
        (bpy.types.Object, "objects"), (bpy.types.Mesh, "meshes"), (bpy.types.Material, "materials"), (bpy.types.Image, "images"),
        (bpy.types.NodeTree, "node_groups"),
    )  # fmt: skip

    def __init__(self) -> None:
        self._made: list[bpy.types.ID] = []

    def add(self, block: Any) -> Any:
        """Note that `block` is new, and return it."""
        self._made.append(block)
        return block

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            return
        for wanted, collection in self._COLLECTIONS:
            for block in [block for block in self._made if isinstance(block, wanted)]:
                getattr(bpy.data, collection).remove(block)


class Images:
    """The images of a finished job, each made where a material first wants it, and the materials that show them."""

    def __init__(self, done: messages.Done, attempt: Attempt) -> None:
        self._attempt = attempt
        beside = done.report.get("image_files") == "beside" and bpy.data.filepath
        self._folder = Path(bpy.data.filepath).parent if beside else None
        self._means = done.report.get("mean_colours")
        self._files: dict[int, dict[str, dict[int, bytes]]] = {}
        self._names: dict[tuple[int, str, int], str] = {}
        for name, file in done.maps.items():
            number, tile, kind = set_of_map(name)
            self._files.setdefault(number, {}).setdefault(kind, {})[tile] = file
            self._names[number, kind, tile] = name
        told = done.report.get("images")
        self._sets: list[dict[str, Any]] = told if isinstance(told, list) else []
        self.variations = 1 + max((int(one.get("variation", 0)) for one in self._sets), default=0)
        self._images: dict[tuple[int, str], bpy.types.Image] = {}
        self._materials: dict[tuple[int, str], bpy.types.Material] = {}

    def of_piece(self, piece: int, variation: int = 0) -> int:
        """The set that shows a piece in a variation; the first where the job did not say."""
        ours = (number for number, one in enumerate(self._sets) if one.get("variation", 0) == variation)
        return next((number for number in ours if piece in self._sets[number].get("pieces", ())), 0)

    def material(self, number: int, name: str, layer: str) -> bpy.types.Material:
        """Principled BSDF with a set's maps, looked up by the UV layer of this name; one for all who ask for the same.

        It is called as the set is, or `name` where there is but one.
        """
        if (number, layer) not in self._materials:
            own = name if len(self._files) <= self.variations else f"{self._sets[number].get('name', name)} textured"
            self._materials[number, layer] = self._new_material(number, own, layer)
        return self._materials[number, layer]

    def _new_material(self, number: int, name: str, layer: str) -> bpy.types.Material:
        material = self._attempt.add(node_material(name))
        shader = principled(material)
        shader.inputs["Roughness"].default_value = 0.7
        mean = self._mean_colour(number)
        if mean is not None:  # what the solid view shows of a material
            material.diffuse_color = (*geometry.srgb_to_linear(mean).tolist(), 1.0)
        images = {kind: self._image(number, kind, name) for kind in scene_maps.KINDS if kind in self._files[number]}
        repeated = number >= len(self._sets) or self._sets[number].get("repeats") is not False or len(self._sets[number]["tiles"]) > 1
        scene_maps.wire(
            material, shader, layer, images, lambda called: self._attempt.add(bpy.data.node_groups.new(called, "ShaderNodeTree")), repeated
        )
        return material

    def _image(self, number: int, kind: str, name: str) -> bpy.types.Image:
        if (number, kind) not in self._images:
            files, called = self._files[number][kind], f"{name} {kind}"
            made = self._attempt.add(_tiled_image(called, files, self._folder) if len(files) > 1 else self._single(called, files))
            scene_maps.set_colour_space(made, kind, scene_maps.suffix_of(next(iter(files.values()))))
            self._images[number, kind] = made
        return self._images[number, kind]

    def _single(self, name: str, files: Mapping[int, bytes]) -> bpy.types.Image:
        file = next(iter(files.values()))
        if self._folder is None:
            return _image(name, file)
        image = bpy.data.images.load(str(scene_maps.write_beside(self._folder, name, file)))
        image.name = name
        return image

    def _mean_colour(self, number: int) -> np.ndarray | None:
        """What the report says of a set's albedo, sRGB-encoded [3]; None where it says nothing that can be used."""
        names = [name for (of, kind, _), name in self._names.items() if of == number and kind == "albedo"]
        colours = [self._means.get(name) for name in names] if isinstance(self._means, dict) else []
        usable = [
            colour[:3]
            for colour in colours
            if isinstance(colour, list) and len(colour) >= 3 and all(isinstance(value, float | int) for value in colour)
        ]
        return np.mean(usable, axis=0) if usable else None


def node_material(name: str) -> bpy.types.Material:
    """A new material whose surface is made of nodes."""
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0):
        material.use_nodes = True
    return material


def principled(material: bpy.types.Material) -> bpy.types.Node:
    """The shader of a new material, added where Blender gave none."""
    nodes = material.node_tree.nodes
    shader = next((node for node in nodes if node.type == "BSDF_PRINCIPLED"), None)
    if shader is None:
        shader, output = nodes.new("ShaderNodeBsdfPrincipled"), nodes.new("ShaderNodeOutputMaterial")
        output.location = (300, 0)
        material.node_tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    return shader


def _image(name: str, file: bytes) -> bpy.types.Image:
    """A map's file as an image packed in the .blend; Blender decodes it when it is first drawn."""
    image = bpy.data.images.new(name, 1, 1)
    image.pack(data=file, data_len=len(file))
    image.source = "FILE"
    return image


def _tiled_image(name: str, files: Mapping[int, bytes], beside: Path | None) -> bpy.types.Image:
    """Files by UDIM number as the tiles of one image: in a folder, or packed in the file, where they pass through one for a moment."""
    first, suffix = min(files), scene_maps.suffix_of(next(iter(files.values())))
    with tempfile.TemporaryDirectory(prefix="sketchbridge-") as passing:
        folder = Path(passing) if beside is None else beside
        written = {number: scene_maps.write_beside(folder, name, file, number) for number, file in files.items()}
        image = bpy.data.images.load(str(written[first]))
        image.name, image.source = name, "TILED"
        image.filepath = str(written[first]).replace(f".{first}{suffix}", f".<UDIM>{suffix}")
        for number in sorted(files):
            if image.tiles.get(number) is None:
                image.tiles.new(number)
        if beside is None:
            image.pack()
            image.filepath = f"//{bpy.path.clean_name(name)}.<UDIM>{suffix}"  # where Unpack writes them
    return image
