"""Texture three models through each door - the panel's operator, the engine's command line, Blender's headless command - and render them.

    PYTHON_WITH_BPY -m scripts.blender.texture_doors [--models house,mushroom,car] [--steps 240,80] [--size 512] [--out out/texture_doors]

The models are those of scripts.blender.artist_models. Each leaves its untextured NAME.blend and NAME.glb, the results panel.blend,
command/NAME.glb and headless.blend in a folder of its name, and NAME.png: columns untextured, command line, panel, headless, a row each
view, lit by one of Blender's panoramas (Cycles, CPU). Prints which maps each result's materials have, and whether mesh and UVs are the
source's bytes. A result that is there is not made again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scripts import ROOT
from scripts.blender.artist_models import MODELS, ArtistModel
from scripts.blender.contact_sheet import assemble, render_rows, save_png
from scripts.blender.extension import install, leave
from scripts.setup import bootstrap, build_extension

if TYPE_CHECKING:
    import bpy

SKY = "studio.exr"
DOORS = ("command line", "panel", "headless")


def settings_of(model: ArtistModel, steps: tuple[int, int], size: int) -> dict[str, object]:
    """What every door is told."""
    overrides = {"stage1_steps": steps[0], "stage2_steps": steps[1], "texture_size": size}
    return {"prompt": model.prompt, "maps": "all", "packing": "orm", "preset": "draft", "overrides": json.dumps(overrides)}


def as_options(settings: dict[str, object]) -> list[str]:
    """The same on a command line."""
    numbers = json.loads(str(settings["overrides"]))
    given = [part for name, value in settings.items() if name != "overrides" for part in (f"--{name}", str(value))]
    return [*given, *(part for name, value in numbers.items() for part in ("--set", f"{name}={value}"))]


def build(model: ArtistModel, folder: Path, name: str) -> None:
    """NAME.blend and NAME.glb, untextured."""
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    model.build()
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / f"{name}.blend"), compress=True)
    bpy.ops.export_scene.gltf(filepath=str(folder / f"{name}.glb"), export_format="GLB", use_selection=True)


def by_panel(settings: dict[str, object], source: Path, target: Path) -> None:
    """Open the file, type the settings into the panel's properties, press Texture, save."""
    import bpy

    bpy.ops.wm.open_mainfile(filepath=str(source))
    for name, value in settings.items():
        setattr(bpy.context.scene.sketchbridge, name, value)
    for shown in bpy.context.view_layer.objects:
        shown.select_set(True)
    bpy.ops.sketchbridge.texture()
    bpy.ops.wm.save_as_mainfile(filepath=str(target), compress=True, copy=True)


def by_command_line(settings: dict[str, object], source: Path, target: Path) -> None:
    """`sketchbridge texture FILE.glb`."""
    options = as_options(settings)
    command = [str(bootstrap.ENGINE.python), "-m", "engine", "texture", str(source.with_suffix(".glb")), "--out", str(target.parent)]
    subprocess.run([*command, *options], check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


def by_headless(settings: dict[str, object], source: Path, target: Path) -> None:
    """`blender -b FILE --command sketchbridge texture`."""
    command = [sys.executable, "-m", "scripts.blender.command", "-b", str(source), "--command", "sketchbridge", "texture"]
    subprocess.run([*command, "--out", str(target), *as_options(settings)], check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


def results(path: Path) -> list[bpy.types.Object]:
    """The textured objects of a file, brought into the open one."""
    import bpy

    known = set(bpy.data.objects)
    if path.suffix == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path))
    else:
        with bpy.data.libraries.load(str(path)) as (held, wanted):
            wanted.objects = held.objects
        for loaded in wanted.objects:
            bpy.context.scene.collection.objects.link(loaded)
    bpy.context.view_layer.update()
    found = [one for one in bpy.data.objects if one not in known and one.type == "MESH"]
    return [one for one in found if "sketchbridge_prompt" in one] or found


def maps_of(objects: Sequence[bpy.types.Object]) -> list[str]:
    """A line for each material: what feeds its shader, and the images that it holds."""
    lines = []
    for material in {slot.material for one in objects for slot in one.material_slots}:
        nodes = material.node_tree.nodes
        shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
        fed = [socket.name for socket in shader.inputs if socket.is_linked]
        images = [node.image for node in nodes if node.type == "TEX_IMAGE" and node.image]
        told = sorted(f"{image.name} {image.size[0]} {image.colorspace_settings.name} {max(len(image.tiles), 1)}" for image in images)
        lines.append(f"  {material.name}: {', '.join(fed)} <- {'; '.join(told)}")
    return sorted(lines)


def same_bytes(first: Sequence[bpy.types.Object], second: Sequence[bpy.types.Object]) -> bool:
    """Whether objects have the vertices, faces and UVs of others, byte for byte, name by name ('X textured' is X's)."""

    def told(one: bpy.types.Object) -> list[bytes]:
        mesh = one.data
        read = [(mesh.vertices, "co", 3, np.float32), (mesh.loops, "vertex_index", 1, np.int32), (mesh.polygons, "loop_start", 1, np.int32)]
        read += [(layer.uv, "vector", 2, np.float32) for layer in mesh.uv_layers]
        values = [(np.empty(len(source) * width, kind), source, field) for source, field, width, kind in read]
        for array, source, field in values:
            source.foreach_get(field, array)
        return [array.tobytes() for array, _, _ in values]

    before = {one.name: told(one) for one in first}
    return len(first) == len(second) and all(told(one) == before.get(one.name.split(" textured")[0]) for one in second)


def textured(name: str, folder: Path, settings: dict[str, object]) -> dict[str, Path]:
    """The result of each door, made where it is not there."""
    source = folder / f"{name}.blend"
    work: dict[str, tuple[Path, Callable[[dict[str, object], Path, Path], None]]] = {
        "panel": (folder / "panel.blend", by_panel),
        "command line": (folder / "command" / f"{name}.glb", by_command_line),
        "headless": (folder / "headless.blend", by_headless),
    }
    for door in DOORS:
        target, make = work[door]
        if not target.exists():
            print(f"{name}: {door}", flush=True)
            make(settings, source, target)
    return {door: target for door, (target, _) in work.items()}


def picture(name: str, model: ArtistModel, folder: Path, made: dict[str, Path], tile: int, samples: int) -> None:
    """NAME.png, and what can be told of the results without looking."""
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    rows = [results(folder / f"{name}.blend"), *(results(made[door]) for door in DOORS)]
    for door, row in zip(DOORS, rows[1:], strict=True):
        kept = "" if door == "command line" else f", mesh and UVs of the source byte for byte: {same_bytes(rows[0], row)}"
        print(f"{name}, {door}: {len(row)} objects{kept}", *maps_of(row), sep="\n")
    sky = Path(bpy.utils.system_resource("DATAFILES", path="studiolights/world")) / SKY
    tiles = render_rows(rows, tile, samples, model.azimuths, sky=sky)
    save_png(assemble(list(zip(*tiles, strict=True))), folder / f"{name}.png")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--steps", default="240,80", help="of stage 1 and 2")
    parser.add_argument("--size", type=int, default=512, help="of the textures")
    parser.add_argument("--tile", type=int, default=256, help="edge of a rendered view")
    parser.add_argument("--samples", type=int, default=24, help="a pixel")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "texture_doors")
    given = parser.parse_args()
    first, second = (int(number) for number in given.steps.split(","))
    with tempfile.TemporaryDirectory(prefix="sketchbridge-doors-") as scratch:
        os.environ.update(bootstrap.engine_surroundings(), BLENDER_USER_RESOURCES=scratch, PYTHONPATH=str(ROOT))
        importlib.import_module(install(build_extension.build(Path(scratch) / "build")).__name__)
        for name in given.models.split(","):
            folder = given.out.resolve() / name
            (folder / "command").mkdir(parents=True, exist_ok=True)
            if not (folder / f"{name}.blend").exists():
                build(MODELS[name], folder, name)
            made = textured(name, folder, settings_of(MODELS[name], (first, second), given.size))
            picture(name, MODELS[name], folder, made, given.tile, given.samples)
    return 0


if __name__ == "__main__":
    leave(main())
