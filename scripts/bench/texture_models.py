"""The models of the texture bench: the project's own sketches as grey meshes, and shapes with the layouts that artists bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.conventions import SceneNormalization
from engine.formats.meshio import load_mesh
from engine.mesh import Mesh
from engine.sketch.check import check_sketch
from engine.texture.atlas import unwrap
from engine.texture_sets import usable
from scripts import ROOT


@dataclass(frozen=True)
class Model:
    """A mesh to texture: how to make it (any space), what it should become, ImageNet's name for that, "" where it has none, and whether
    its objects and materials count."""

    make: Callable[[], Mesh]
    prompt: str
    kind: str = ""
    parts: bool = False

    def mesh(self) -> Mesh:
        """In engine space, without colours, with uvs where it brings usable ones."""
        given = self.make()
        uvs = given.uvs if given.uvs is not None and usable(given.uvs) else None
        plain = Mesh(given.vertices, given.faces, None, uvs, parts=given.parts if self.parts else None)
        return plain.mapped(SceneNormalization.of_bounds(given.vertices).to_engine)

    def laid_out(self) -> Mesh:
        """With uvs in one square."""
        mesh = self.mesh()
        return mesh if mesh.uvs is not None else Mesh(mesh.vertices, mesh.faces, None, unwrap(mesh, 512, 6))


def _example(name: str) -> Callable[[], Mesh]:
    return lambda: check_sketch(load_mesh(ROOT / "examples" / f"{name}.glb"))[0]


def _case(name: str) -> Callable[[], Mesh]:
    return lambda: check_sketch(load_mesh(ROOT / "tests" / "cases" / "meshes" / f"{name}.glb"))[0]


def vase(around: int = 48, along: int = 40, tiles: int = 1, mirrored: bool = False) -> Mesh:
    """A turned vase, open at the top; uvs around and along it, spread over UDIM tiles along u or folded onto themselves."""
    turn, height = np.meshgrid(np.arange(around + 1) / around, np.arange(along + 1) / along, indexing="ij")
    radius = 0.35 + 0.2 * np.sin(np.pi * (0.2 + 1.5 * height)) * (1 - 0.5 * height)
    angle = 2 * np.pi * turn
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), 1.4 * height], axis=-1).reshape(-1, 3)
    corner = np.arange(around)[:, None] * (along + 1) + np.arange(along)
    quad = np.stack([corner, corner + along + 1, corner + along + 2, corner + 1], axis=-1).reshape(-1, 4)
    faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])
    uv = np.stack([turn, height], axis=-1).reshape(-1, 2)
    uvs = uv[faces]
    if tiles > 1:
        tile = np.floor(uvs.mean(axis=1)[:, 0] * tiles)
        uvs = np.stack([(uvs[..., 0] * tiles - tile[:, None]) * 0.96 + 0.02 + tile[:, None], uvs[..., 1] * 0.96 + 0.02], axis=-1)
    else:
        uvs = uvs * 0.96 + 0.02
    if mirrored:
        uvs[..., 0] = np.abs(uvs[..., 0] - 0.5) * 1.9
    used, local = np.unique(np.mod(faces // (along + 1), around) * (along + 1) + faces % (along + 1), return_inverse=True)
    return Mesh(points[used].astype(np.float32), local.reshape(-1, 3).astype(np.int32), None, uvs.astype(np.float32))


MODELS = {
    "apple": Model(_example("apple"), "a green apple", "apple"),
    "mug": Model(_example("mug"), "a blue coffee mug", "mug"),
    "chair": Model(_example("chair"), "a wooden chair", "chair"),
    "teapot": Model(_example("teapot"), "a white teapot", "teapot"),
    "mushroom": Model(_example("mushroom"), "a red mushroom with a white stalk", "mushroom"),
    "house": Model(_example("house"), "a white house with a red roof"),
    "tree": Model(_example("tree"), "a green tree"),
    "box": Model(_case("lowpoly_textured_box"), "a wooden crate"),
    "parts": Model(_case("three_full_uv_parts"), "a red apple", parts=True),
    "rigged": Model(_case("skinned_node_transform"), "a wooden crate"),
    "island": Model(vase, "a blue vase"),
    "mirrored": Model(lambda: vase(mirrored=True), "a brown clay vase"),
    "udim": Model(lambda: vase(tiles=2), "a white vase"),
    "large": Model(lambda: vase(640, 400), "a green vase"),
}
"""Name -> model: the project's sketches, a box of twelve faces, three parts with the whole square each, a skinned mesh, one island,
mirrored halves, two UDIM tiles, half a million faces."""
