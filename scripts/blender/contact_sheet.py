"""Before and after in one picture, rendered by Blender: two rows of views under the same light, camera and ground.

    PYTHON_WITH_BPY -m scripts.blender.contact_sheet BEFORE.glb AFTER.glb SHEET.png [--tile 224] [--samples 12]

The upper row shows the sketch in its own colours (vertex colours where it has some), the lower row the result in its materials.
Runs in Blender 4.2 and later, as a module or inside Blender; Cycles on the CPU, so that it works without a display.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.formats.files import replacing

if TYPE_CHECKING:
    import bpy

AZIMUTHS = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
"""Degrees; 0 looks at the front from -Y, +90 stands at +X."""
ELEVATION = 18.0
FIELD_OF_VIEW = 30.0
MARGIN = 1.12
GAP = 4
"""Pixels of white between two tiles."""


@dataclass(frozen=True)
class Frame:
    """A world-space box that the camera has to hold: its middle [3], half its diagonal, and how far away the camera must stand."""

    centre: np.ndarray
    radius: float
    floor: float
    distance: float

    @classmethod
    def around(cls, points: np.ndarray, azimuths: Sequence[float] = AZIMUTHS) -> Frame:
        """The frame of points [N, 3]; its distance is the nearest from which the views from all azimuths hold them all."""
        low, high = points.min(axis=0), points.max(axis=0)
        centre, radius = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 1e-6)
        seen = points - centre
        slope = math.tan(math.radians(FIELD_OF_VIEW) / 2) / MARGIN
        reach = 0.0
        for azimuth in azimuths:
            towards = direction(azimuth, ELEVATION)
            right = np.cross((0, 0, 1), towards) / math.cos(math.radians(ELEVATION))
            aside = np.maximum(np.abs(seen @ right), np.abs(seen @ np.cross(towards, right)))
            reach = max(reach, float((aside / slope + seen @ towards).max()))
        return cls(centre, radius, float(low[2]), max(reach, radius))


def direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector [3] from the object towards a camera; degrees."""
    turn, lift = math.radians(azimuth), math.radians(elevation)
    return np.array([math.sin(turn) * math.cos(lift), -math.cos(turn) * math.cos(lift), math.sin(lift)])


def assemble(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Rows of equally large tiles [H, W, 4] -> one picture [H', W', 4] with white gaps; row 0 at the top throughout."""
    height, width, _ = rows[0][0].shape
    sheet = np.ones((len(rows) * (height + GAP) + GAP, len(rows[0]) * (width + GAP) + GAP, 4), dtype=np.float32)
    for line, row in enumerate(rows):
        for column, tile in enumerate(row):
            top, left = GAP + line * (height + GAP), GAP + column * (width + GAP)
            sheet[top : top + height, left : left + width] = tile
    return sheet


def render_contact_sheet(
    before: Sequence[bpy.types.Object],
    after: Sequence[bpy.types.Object],
    path: Path,
    tile: int = 224,
    samples: int = 12,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Render both rows into a PNG; the open file's own scenes are left as they were.

    before, after   objects of the open file; their evaluated geometry is shown where it stands in the world
    progress        called with (tiles done, tiles in all)
    """
    save_png(assemble(render_rows([before, after], tile, samples, progress=progress, sketches=1)), path)


def render_rows(
    shown: Sequence[Sequence[bpy.types.Object]],
    tile: int,
    samples: int,
    azimuths: Sequence[float] = AZIMUTHS,
    progress: Callable[[int, int], None] = lambda done, total: None,
    sketches: int = 0,
    sky: Path | None = None,
) -> list[list[np.ndarray]]:
    """Rows of tiles [tile, tile, 4] of one model each, all under the same light and cameras; the open file's own scenes stay as they were.

    shown     the objects of each row, where they stand in the world
    sketches  so many of the first rows are shown in their colour attributes
    sky       a panorama that lights them; None is an even sky and a sun
    """
    import bpy

    opened = bpy.context.window.scene if bpy.context.window else None
    scene = bpy.data.scenes.new("Contact sheet")
    made: list[bpy.types.ID] = []
    try:
        rows = [_copies(objects, scene, made, index < sketches) for index, objects in enumerate(shown)]
        frame = _frame([copy for row in rows for copy in row], azimuths)
        _set_render(scene, tile, samples, made)
        _add_ground(scene, frame, made)
        camera, sun = _add_camera(scene, frame, made), _add_sun(scene, made)
        if sky is not None:
            sun.hide_render = True
            scene.cycles.use_denoising = True
            _light_by(scene.world, sky, made)
        pictures: list[list[np.ndarray]] = []
        for row in rows:
            for copy in (copy for other in rows for copy in other):
                copy.hide_render = copy not in row
            pictures.append([])
            for azimuth in azimuths:
                _aim(camera, sun, frame, azimuth)
                pictures[-1].append(_render_tile(scene))
                progress(sum(map(len, pictures)), len(rows) * len(azimuths))
        return pictures
    finally:
        bpy.data.scenes.remove(scene)
        bpy.data.batch_remove(made)
        if opened is not None:
            bpy.context.window.scene = opened


def _light_by(world: bpy.types.World, sky: Path, made: list) -> None:
    """Light a world by a panorama instead of its even colour."""
    import bpy

    nodes, links = world.node_tree.nodes, world.node_tree.links
    panorama = nodes.new("ShaderNodeTexEnvironment")
    panorama.image = bpy.data.images.load(str(sky))
    made.append(panorama.image)
    background = next(node for node in nodes if node.type == "BACKGROUND")
    background.inputs["Strength"].default_value = 1.0
    links.new(panorama.outputs["Color"], background.inputs["Color"])


def _copies(objects: Sequence[bpy.types.Object], scene: bpy.types.Scene, made: list, sketch: bool) -> list[bpy.types.Object]:
    """Stand-ins of objects' evaluated meshes at their world transforms, linked to the sheet's scene."""
    import bpy

    depsgraph = bpy.context.evaluated_depsgraph_get()
    copies = []
    for original in objects:
        mesh = bpy.data.meshes.new_from_object(original.evaluated_get(depsgraph), preserve_all_data_layers=True, depsgraph=depsgraph)
        if sketch and mesh.color_attributes:
            mesh.materials.clear()
            mesh.materials.append(_stroke_material(mesh.color_attributes.active_color_name or mesh.color_attributes[0].name, made))
        copy = bpy.data.objects.new(original.name, mesh)
        copy.matrix_world = original.matrix_world
        scene.collection.objects.link(copy)
        made += [copy, mesh]
        copies.append(copy)
    return copies


def _frame(objects: Sequence[bpy.types.Object], azimuths: Sequence[float]) -> Frame:
    """The frame of all vertices where they stand in the world."""
    points = []
    for shown in objects:
        local = np.empty(len(shown.data.vertices) * 3, dtype=np.float32)
        shown.data.vertices.foreach_get("co", local)
        matrix = np.array(shown.matrix_world, dtype=np.float64)
        points.append(local.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
    return Frame.around(np.concatenate(points), azimuths)


def _principled(name: str, made: list) -> tuple[bpy.types.Material, bpy.types.Node]:
    import bpy

    material = bpy.data.materials.new(name)
    material.use_nodes = True
    made.append(material)
    return material, next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")


def _stroke_material(attribute: str, made: list) -> bpy.types.Material:
    """Matt, in the colours of a colour attribute."""
    material, shader = _principled("Sheet strokes", made)
    colours = material.node_tree.nodes.new("ShaderNodeVertexColor")
    colours.layer_name = attribute
    material.node_tree.links.new(colours.outputs["Color"], shader.inputs["Base Color"])
    shader.inputs["Roughness"].default_value = 0.7
    return material


def _set_render(scene: bpy.types.Scene, tile: int, samples: int, made: list) -> None:
    """Cycles on the CPU, square tiles, colours as they are painted ("Standard"), an even sky."""
    import bpy

    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.use_denoising = False
    scene.cycles.max_bounces = 3
    scene.cycles.seed = 1
    scene.render.resolution_x = scene.render.resolution_y = tile
    scene.render.resolution_percentage = 100
    scene.render.use_persistent_data = True
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.view_settings.view_transform = "Standard"
    world = bpy.data.worlds.new("Sheet sky")
    world.use_nodes = True
    sky = next(node for node in world.node_tree.nodes if node.type == "BACKGROUND")
    sky.inputs["Color"].default_value = (0.78, 0.79, 0.80, 1)
    sky.inputs["Strength"].default_value = 0.75
    scene.world = world
    made.append(world)


def _add_ground(scene: bpy.types.Scene, frame: Frame, made: list) -> None:
    """A neutral floor under the object, so large that its edge is lost in the distance."""
    import bpy

    reach, height = 400 * frame.radius, frame.floor - 0.002 * frame.radius
    corners = [(frame.centre[0] + x * reach, frame.centre[1] + y * reach, height) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    mesh = bpy.data.meshes.new("Sheet ground")
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    material, shader = _principled("Sheet ground", made)
    shader.inputs["Base Color"].default_value = (0.5, 0.5, 0.5, 1)
    shader.inputs["Roughness"].default_value = 1.0
    mesh.materials.append(material)
    ground = bpy.data.objects.new("Sheet ground", mesh)
    scene.collection.objects.link(ground)
    made += [ground, mesh]


def _add_camera(scene: bpy.types.Scene, frame: Frame, made: list) -> bpy.types.Object:
    import bpy

    lens = bpy.data.cameras.new("Sheet camera")
    lens.angle = math.radians(FIELD_OF_VIEW)
    lens.clip_start, lens.clip_end = 0.01 * frame.radius, 1000 * frame.radius
    camera = bpy.data.objects.new("Sheet camera", lens)
    scene.collection.objects.link(camera)
    scene.camera = camera
    made += [camera, lens]
    return camera


def _add_sun(scene: bpy.types.Scene, made: list) -> bpy.types.Object:
    import bpy

    lamp = bpy.data.lights.new("Sheet sun", "SUN")
    lamp.energy = 2.2
    lamp.angle = math.radians(12)
    sun = bpy.data.objects.new("Sheet sun", lamp)
    scene.collection.objects.link(sun)
    made += [sun, lamp]
    return sun


def _aim(camera: bpy.types.Object, sun: bpy.types.Object, frame: Frame, azimuth: float) -> None:
    """Put the camera on its orbit, and the sun over its left shoulder."""
    from mathutils import Vector

    towards = direction(azimuth, ELEVATION)
    camera.location = frame.centre + frame.distance * towards
    camera.rotation_euler = Vector(-towards).to_track_quat("-Z", "Y").to_euler()
    sun.rotation_euler = Vector(-direction(azimuth - 40, 50)).to_track_quat("-Z", "Y").to_euler()


def _render_tile(scene: bpy.types.Scene) -> np.ndarray:
    """The scene as float32 [H, W, 4] in 0..1 sRGB, row 0 at the top."""
    import bpy

    with tempfile.TemporaryDirectory(prefix="sketchbridge-sheet-") as folder:
        scene.render.filepath = str(Path(folder) / "tile.png")
        bpy.ops.render.render(write_still=True, scene=scene.name)
        image = bpy.data.images.load(scene.render.filepath)
        width, height = image.size
        pixels = np.empty(width * height * 4, dtype=np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)[::-1]


def save_png(picture: np.ndarray, path: Path) -> None:
    """float32 [H, W, 4] sRGB, row 0 at the top -> a PNG file that is whole or absent."""
    import bpy

    image = bpy.data.images.new("Contact sheet", picture.shape[1], picture.shape[0])
    try:
        image.pixels.foreach_set(np.ascontiguousarray(picture[::-1], dtype=np.float32).ravel())
        image.file_format = "PNG"
        with replacing(path) as unfinished:
            image.save(filepath=str(unfinished))
    finally:
        bpy.data.images.remove(image)


def _imported(path: Path) -> list[bpy.types.Object]:
    import bpy

    known = set(bpy.data.objects)
    if path.suffix.lower() == ".blend":
        with bpy.data.libraries.load(str(path)) as (held, wanted):
            wanted.objects = held.objects
        for loaded in wanted.objects:
            bpy.context.scene.collection.objects.link(loaded)
    else:
        bpy.ops.import_scene.gltf(filepath=str(path))
    bpy.context.view_layer.update()
    return [found for found in bpy.data.objects if found not in known and found.type == "MESH"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: two .glb (or .blend) files into one picture."""
    parser = argparse.ArgumentParser(description="Render two models into a before/after contact sheet.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--tile", type=int, default=224, help="edge of a tile in pixels (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=12, help="a pixel (default: %(default)s)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("BLENDER_USER_RESOURCES", tempfile.mkdtemp(prefix="sketchbridge-sheet-"))
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    rows = [_imported(path.resolve()) for path in (options.before, options.after)]
    render_contact_sheet(rows[0], rows[1], options.sheet.resolve(), options.tile, options.samples)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else None))
