"""Draw the example sketches: examples/NAME.glb, or with --blend NAME.blend (run by Blender 4.2's Python), and prompts.toml.

    python -m scripts.examples.make                      the engine's Python: GLB files and prompts.toml
    .venv/blender-4.2/bin/python -m scripts.examples.make --blend

The same seed draws the same strokes in both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from scripts import ROOT
from scripts.examples.sketches import DRAWINGS
from scripts.examples.sketching import Sketch


def draw(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """vertices [V, 3] in metres, faces [F, 3], colours [V, 3] of one drawing."""
    drawing, shake, _ = DRAWINGS[name]
    sketch = Sketch(np.random.default_rng([seed, list(DRAWINGS).index(name)]), shake=shake)
    drawing(sketch)
    return sketch.arrays()


def write_glb(folder: Path, seed: int, names: list[str]) -> None:
    """NAME.glb for every named drawing, and prompts.toml."""
    from engine.formats.meshio import save_glb
    from engine.mesh import Mesh

    for name in names:
        vertices, faces, colours = draw(name, seed)
        save_glb(folder / f"{name}.glb", Mesh(vertices, faces, colours), {}, f"{name} sketch", {}, smooth=False)
    lines = [f'{name} = "{prompt}"' for name, (_, _, prompt) in DRAWINGS.items()]
    (folder / "prompts.toml").write_text("# What each sketch should become.\n" + "\n".join(lines) + "\n", encoding="utf-8")


def write_blend(folder: Path, seed: int, names: list[str]) -> None:
    """NAME.blend for every named drawing: one object with a colour attribute and a material that shows it."""
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="sketchbridge-")  # never a user's own preferences
    os.environ["HOME"] = tempfile.gettempdir()  # written into every file
    import bpy

    if bpy.app.version[:2] != (4, 2):
        raise SystemExit(f"Files saved by Blender {bpy.app.version_string} cannot be opened in 4.2; run this with Blender 4.2's Python.")
    for name in names:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        vertices, faces, colours = draw(name, seed)
        mesh = bpy.data.meshes.new(f"{name} sketch")
        mesh.from_pydata(vertices.tolist(), [], faces.tolist())
        linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
        attribute = mesh.color_attributes.new("Color", "FLOAT_COLOR", "POINT")
        attribute.data.foreach_set("color", np.concatenate([linear, np.ones((len(linear), 1))], axis=1).astype(np.float32).ravel())
        mesh.materials.append(_stroke_material(bpy))
        sketch = bpy.data.objects.new(f"{name} sketch", mesh)
        bpy.context.scene.collection.objects.link(sketch)
        bpy.context.view_layer.objects.active = sketch
        sketch.select_set(True)
        bpy.context.preferences.filepaths.save_version = 0
        temporary = Path(tempfile.gettempdir()) / f"{name}.blend"  # a .blend file remembers where it was saved: nowhere that says anything
        bpy.ops.wm.save_as_mainfile(filepath=str(temporary), compress=True, check_existing=False)
        shutil.move(temporary, folder / temporary.name)


def _stroke_material(bpy: object) -> object:
    """Principled BSDF whose base colour is the colour attribute."""
    material = bpy.data.materials.new("Strokes")  # type: ignore[attr-defined]
    material.use_nodes = True
    nodes = material.node_tree.nodes
    colour = nodes.new("ShaderNodeVertexColor")
    colour.layer_name = "Color"
    shader = nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = 0.6
    material.node_tree.links.new(colour.outputs["Color"], shader.inputs["Base Color"])
    return material


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "examples", help="folder (default: examples/)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=list(DRAWINGS), default=list(DRAWINGS), metavar="NAME", help="some of the drawings")
    parser.add_argument("--blend", action="store_true", help="write .blend files; needs Blender 4.2's Python")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (write_blend if arguments.blend else write_glb)(arguments.out.resolve(), arguments.seed, arguments.only)


if __name__ == "__main__":
    main()
