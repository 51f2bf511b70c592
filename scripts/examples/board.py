"""Render the reference board examples/boards/tulips: one red tulip from all round, before the engine's backgrounds. Needs bpy.

    .venv/blender-5.0/bin/python -m scripts.examples.board [--out FOLDER] [--size 64] [--samples 48]

A board is a folder of images with captions.jsonl; `--model FOLDER` makes it the prior. Captions carry the camera's angles, so that
every view is drawn toward the pictures that were taken from there. Framed as the engine frames a sketch (engine.conventions).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.conventions import FIT_EXTENT
from engine.views import BACKGROUNDS
from scripts import ROOT
from scripts.examples.sketching import curve

CAPTION = "a red tulip flower"
ELEVATIONS = {0.0: 12, 20.0: 12, 42.0: 8}  # degrees -> views around
DISTANCE, FIELD_OF_VIEW = 2.9, 40.0  # the middle of the engine's cameras
Surface = Callable[[np.ndarray, np.ndarray], np.ndarray]


def petal(azimuth: float, reach: float, base: float, height: float) -> Surface:
    """A spoon that swells, closes again toward its tip and overlaps its neighbours; u and v in 0..1."""

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        across = 2 * u - 1
        swell = np.sin(np.pi * (0.07 + 0.64 * v)) ** 0.8
        half_width = 1.12 * np.sin(np.pi * (0.16 + 0.82 * v)) ** 0.55
        angle = azimuth + across * half_width
        radius = reach * swell * (1 - 0.06 * across**2) + 0.004 * np.cos(9 * across) * v
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), base + height * (v - 0.05 * across**2 * v)], axis=-1)

    return surface


def blade(side: int, height: float) -> Surface:
    """A broad leaf that embraces the stem's foot and bends outward."""

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        half = 0.046 * np.sin(np.pi * (0.16 + 0.83 * v)) ** 0.75
        across = (2 * u - 1) * half
        out = 0.016 + 0.05 * v + 0.10 * v**2.4 - 0.4 * np.abs(across)
        return np.stack([side * out, -0.02 * v + across + 0.006 * np.sin(8 * v), 0.012 + height * (v - 0.18 * v**4)], axis=-1)

    return surface


def sheet(surface: Surface, columns: int = 16, rows: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """vertices [V, 3] and quads [F, 4] of a surface over the unit square."""
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    index = np.arange(rows * columns).reshape(rows, columns)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], axis=-1).reshape(-1, 4)
    return surface(u, v).reshape(-1, 3), quads


def stem(path: np.ndarray, radius: float) -> Surface:
    """A round stem along path [N, 3] that stays near the vertical."""

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        middle = np.stack([np.interp(v, np.linspace(0, 1, len(path)), path[:, axis]) for axis in range(3)], axis=-1)
        return middle + radius * np.stack([np.cos(2 * np.pi * u), np.sin(2 * np.pi * u), 0 * u], axis=-1)

    return surface


def tulip() -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Parts (vertices, quads, material), scaled and centred as the engine places a sketch."""
    parts = [(*sheet(stem(curve((0, 0, 0), (0.01, 0, 0.11), (-0.006, 0, 0.21), (0, 0, 0.31)), 0.018)), "stem")]
    for ring, (reach, start) in enumerate(((0.092, 0.0), (0.104, np.pi / 3))):
        azimuths = start + np.arange(3) * 2 * np.pi / 3 - np.pi / 2
        parts += [(*sheet(petal(azimuth, reach, 0.295, 0.205 - 0.008 * ring)), "petal") for azimuth in azimuths]
    parts += [(*sheet(blade(side, height)), "leaf") for side, height in ((-1, 0.27), (1, 0.22))]
    points = np.concatenate([vertices for vertices, _, _ in parts])
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 2 * FIT_EXTENT / (high - low).max()
    return [((vertices - (low + high) / 2) * scale, quads, material) for vertices, quads, material in parts]


def build(bpy: Any) -> None:
    """The tulip as Blender objects, petals and leaves with a little thickness."""
    from scripts.prior.data.shader_nodes import build_material
    from scripts.prior.data.workbench import Material

    looks = {
        "petal": Material((0.62, 0.012, 0.018), (0.36, 0.004, 0.010), scale=9, roughness=0.45, bump=0.15, subsurface=0.15),
        "leaf": Material((0.06, 0.22, 0.045), (0.03, 0.13, 0.025), scale=12, roughness=0.5, bump=0.2),
        "stem": Material((0.10, 0.28, 0.06), (0.07, 0.20, 0.04), scale=12, roughness=0.5, bump=0.1),
    }
    materials = {name: build_material(look) for name, look in looks.items()}
    for vertices, quads, name in tulip():
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(vertices.tolist(), [], quads.tolist())
        mesh.polygons.foreach_set("use_smooth", [True] * len(mesh.polygons))
        mesh.materials.append(materials[name])
        made = bpy.data.objects.new(name, mesh)
        bpy.context.scene.collection.objects.link(made)
        if name != "stem":
            modifier = made.modifiers.new("thickness", "SOLIDIFY")
            modifier.thickness, modifier.offset = 0.02, 0.0


def set_up(bpy: Any, size: int, samples: int) -> Any:
    """Light from everywhere and a soft sun, a transparent film; answers the camera."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.seed = samples, True, 0
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.view_settings.view_transform = "Standard"
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.6
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (1, 1, 1, 1)
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle = 1.7, 0.5
    scene.collection.objects.link(sun)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.angle = math.radians(FIELD_OF_VIEW)
    scene.collection.objects.link(camera)
    scene.camera = camera
    sun.parent = camera  # the light comes over the camera's shoulder, as the engine's does on average
    sun.rotation_euler = (math.radians(-35), math.radians(-25), 0)
    return camera


def shoot(bpy: Any, camera: Any, azimuth: float, elevation: float, file: Path) -> np.ndarray:
    """float [H, W, 4], sRGB with straight alpha, row 0 at the bottom as Blender keeps images."""
    from mathutils import Vector

    a, e = math.radians(azimuth), math.radians(elevation)
    direction = Vector((math.cos(e) * math.sin(a), -math.cos(e) * math.cos(a), math.sin(e)))
    camera.location = DISTANCE * direction
    camera.rotation_euler = (-direction).to_track_quat("-Z", "Y").to_euler()
    bpy.context.scene.render.filepath = str(file)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(file))
    image.alpha_mode = "CHANNEL_PACKED"  # leave colours as they are in the file
    size = tuple(image.size)
    pixels = np.array(image.pixels, dtype=np.float32).reshape(size[1], size[0], 4)
    bpy.data.images.remove(image)
    return pixels


def save_webp(bpy: Any, pixels: np.ndarray, file: Path, quality: int) -> None:
    """Opaque sRGB pixels [H, W, 3], row 0 at the bottom."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new("board", width, height, alpha=False)
    image.pixels.foreach_set(np.concatenate([pixels, np.ones((height, width, 1))], axis=2).astype(np.float32).ravel())
    image.file_format = "WEBP"
    image.save(filepath=str(file), quality=quality)
    bpy.data.images.remove(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "examples" / "boards" / "tulips")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--quality", type=int, default=94)
    arguments = parser.parse_args()
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="sketchbridge-")
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    build(bpy)
    camera = set_up(bpy, arguments.size, arguments.samples)
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for elevation, count in ELEVATIONS.items():
            for turn in range(count):
                azimuth = (360 * (turn + 0.5 * (elevation > 0)) / count + 180) % 360 - 180
                pixels = shoot(bpy, camera, azimuth, elevation, Path(folder) / "view.png")
                for background in BACKGROUNDS:
                    name = f"tulip_{background.words.split()[-2]}_{elevation:02.0f}_{turn:02d}.webp"
                    mixed = pixels[..., :3] * pixels[..., 3:] + np.asarray(background.colour) * (1 - pixels[..., 3:])
                    save_webp(bpy, mixed, arguments.out / name, arguments.quality)
                    angles = {"azimuth": round(azimuth, 2), "elevation": elevation}
                    lines.append({"file": name, "caption": CAPTION, "background": background.words, **angles})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (arguments.out / "captions.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
