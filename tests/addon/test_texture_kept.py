"""Whatever is textured keeps its bytes: vertices, faces, normals, groups, shape keys, UV layers and slots of models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import bpy
import numpy as np
import pytest
from conftest import ROOT
from helpers import add_object, everything, select

from scripts.blender.artist_models import MODELS

GRID = 506
"""Quads along each side of the model of half a million triangles."""


def imported(path: str) -> Callable[[], list[bpy.types.Object]]:
    """The mesh objects of a file of the project, with the armature that it brings."""

    def read() -> list[bpy.types.Object]:
        bpy.ops.import_scene.gltf(filepath=str(ROOT / path), disable_bone_shape=True)
        return [one for one in bpy.context.scene.objects if one.type == "MESH"]

    return read


def large() -> list[bpy.types.Object]:
    """A wavy sheet in one island."""
    u, v = (axis.ravel() for axis in np.meshgrid(np.arange(GRID + 1) / GRID, np.arange(GRID + 1) / GRID))
    corner = (np.arange(GRID)[:, None] * (GRID + 1) + np.arange(GRID)).ravel()
    quads = np.stack([corner, corner + 1, corner + GRID + 2, corner + GRID + 1], axis=1)
    made = add_object("Sheet", np.stack([u, v, 0.05 * np.sin(20 * u)], axis=1).tolist(), quads.tolist())
    made.data.uv_layers.new(name="Artist's").uv.foreach_set("vector", np.stack([u, v], axis=1)[quads.ravel()].astype(np.float32).ravel())
    return [made]


KINDS = {
    **{name: imported(f"examples/{name}.glb") for name in ("apple", "mug", "chair", "teapot", "mushroom", "house", "tree")},
    "low-poly box": imported("tests/cases/meshes/lowpoly_textured_box.glb"),
    "three balls": imported("tests/cases/meshes/three_full_uv_parts.glb"),
    "rigged": imported("tests/cases/meshes/skinned_node_transform.glb"),
    **{f"artist's {name}": model.build for name, model in MODELS.items()},
    "large": large,
}


def furnished(one: bpy.types.Object) -> None:
    """Give a mesh what artists' meshes have: a second layer beside its first, a group, a shape key, normals of its own."""
    mesh = one.data
    if mesh.uv_layers:
        first = mesh.uv_layers.active.name
        layer = mesh.uv_layers.new(name="Second", do_init=False)
        layer.uv.foreach_set("vector", np.random.default_rng(1).random(2 * len(mesh.loops)).astype(np.float32))
        mesh.uv_layers.active = mesh.uv_layers[first]
    one.vertex_groups.new(name="Some").add(range(0, len(mesh.vertices), 3), 0.25, "ADD")
    mesh.normals_split_custom_set_from_vertices([(0.0, 0.6, 0.8)] * len(mesh.vertices))
    if mesh.shape_keys is None:
        one.shape_key_add(name="Basis")
    one.shape_key_add(name="Moved").data[0].co.x += 1


@pytest.mark.parametrize("kind", [pytest.param(name, marks=pytest.mark.slow if name == "large" else ()) for name in KINDS])
def test_every_kind_of_model_keeps_its_bytes(scene: ModuleType, kind: str) -> None:
    del scene
    made = KINDS[kind]()
    for one in made:
        furnished(one)
    select(*made)
    before = {one.name: everything(one) for one in made}
    assert all(told["keys"] and told["names"] for told in before.values())
    assert bpy.ops.sketchbridge.texture() == {"FINISHED"}
    found = {one.name.removesuffix(" textured"): everything(one) for one in bpy.context.view_layer.objects if one.select_get()}
    assert {one.name: everything(one) for one in made} == before
    assert found.keys() == before.keys()
    for name, told in before.items():
        changed = [what for what in found[name] if found[name][what] != told.get(what)]
        assert changed == ([] if any(what.startswith("uv ") for what in told) else ["uv UVMap"])
