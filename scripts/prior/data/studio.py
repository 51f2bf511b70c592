"""The Blender side of the generator: objects, materials, light, camera, rendering. Needs bpy."""

from __future__ import annotations

import math
import random
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

from engine.views import view_word
from scripts.prior.data.grounds import GROUNDS, Ground
from scripts.prior.data.palette import dimmed, varied
from scripts.prior.data.shader_nodes import build_material
from scripts.prior.data.shapes import Mesh
from scripts.prior.data.workbench import Material, Part, Subject

HALF_GROUND = 12.0


class Studio:
    """A scene that is set up once and renders one subject after another."""

    def __init__(self, size: int, samples: int, threads: int) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self._configure_render(size, samples, threads)
        self._make_world()
        self.camera = self._link("camera", bpy.data.cameras.new("camera"))
        self.camera.data.lens = 50
        self.scene.camera = self.camera
        self.sun = self._link("sun", bpy.data.lights.new("sun", "SUN"))
        self.sun.data.angle = 0.08

    def render(self, parts: list[Part], subject: Subject, rng: random.Random, path: Path) -> tuple[str, str]:
        """Render the parts in a random setting.

        Returns the words of the background, and of the view.
        """
        self._clear()
        materials: dict[Material, bpy.types.Material] = {}
        for part in parts:
            self._add_part(part, materials)
        azimuth = rng.uniform(-math.pi, math.pi)
        elevation = math.radians(rng.uniform(2, 32) if rng.random() < 0.75 else rng.uniform(32, 72))
        ground = rng.choice(GROUNDS)
        self._place_ground(ground, azimuth, rng)
        self._place_light(azimuth, rng)
        self._place_camera(subject, azimuth, elevation, rng)
        self.scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        return ground.words, view_word(math.degrees(azimuth) + 90, math.degrees(elevation))

    def _configure_render(self, size: int, samples: int, threads: int) -> None:
        render, cycles = self.scene.render, self.scene.cycles
        render.engine = "CYCLES"
        cycles.device = "CPU"
        cycles.samples = samples
        cycles.use_adaptive_sampling = False
        cycles.use_denoising = True
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.max_bounces = 3
        cycles.diffuse_bounces = 2
        cycles.glossy_bounces = 2
        cycles.transmission_bounces = 3
        cycles.caustics_reflective = cycles.caustics_refractive = False
        render.resolution_x = render.resolution_y = size
        render.resolution_percentage = 100
        render.threads_mode, render.threads = "FIXED", threads
        render.use_persistent_data = True
        self.scene.view_settings.view_transform = "AgX"
        self.scene.view_settings.look = "AgX - Medium High Contrast"
        render.image_settings.file_format = "WEBP"
        render.image_settings.quality = 92

    def _make_world(self) -> None:
        """A world lit by one of the panoramas that come with Blender."""
        folders = [
            Path(bpy.utils.system_resource("DATAFILES")) / "studiolights" / "world",
            Path(bpy.__file__).parent,
        ]
        found = {path for folder in folders for path in folder.glob("**/studiolights/world/*.exr")}
        found |= set(folders[0].glob("*.exr"))
        panoramas = sorted(path for path in found if "night" not in path.name)
        self.panoramas = [bpy.data.images.load(str(path)) for path in panoramas]
        world = bpy.data.worlds.new("world")
        self.scene.world = world
        world.use_nodes = True
        nodes, links = world.node_tree.nodes, world.node_tree.links
        self.sky = nodes["Background"]
        self.panorama = nodes.new("ShaderNodeTexEnvironment")
        self.turn = nodes.new("ShaderNodeMapping")
        coordinates = nodes.new("ShaderNodeTexCoord")
        links.new(coordinates.outputs["Generated"], self.turn.inputs["Vector"])
        links.new(self.turn.outputs["Vector"], self.panorama.inputs["Vector"])
        if self.panoramas:
            links.new(self.panorama.outputs["Color"], self.sky.inputs["Color"])

    def _link(self, name: str, data: bpy.types.ID) -> bpy.types.Object:
        made = bpy.data.objects.new(name, data)
        self.scene.collection.objects.link(made)
        return made

    def _clear(self) -> None:
        """Remove the last subject; camera and sun stay."""
        kept = {self.camera.name, self.sun.name}
        for thing in list(self.scene.objects):
            if thing.name not in kept:
                bpy.data.objects.remove(thing, do_unlink=True)
        for mesh in list(bpy.data.meshes):
            bpy.data.meshes.remove(mesh)
        for material in list(bpy.data.materials):
            bpy.data.materials.remove(material)

    def _add_part(self, part: Part, materials: dict[Material, bpy.types.Material]) -> None:
        if part.material not in materials:
            materials[part.material] = build_material(part.material)
        mesh = bpy.data.meshes.new("part")
        mesh.from_pydata(part.mesh.vertices.tolist(), [], part.mesh.faces)
        mesh.update()
        mesh.materials.append(materials[part.material])
        mesh.polygons.foreach_set("use_smooth", [part.smooth] * len(mesh.polygons))
        made = self._link("part", mesh)
        if part.bevel:
            modifier = made.modifiers.new("bevel", "BEVEL")
            modifier.width, modifier.segments = part.bevel, 2

    def _place_ground(self, ground: Ground, azimuth: float, rng: random.Random) -> None:
        colour = varied(ground.colour, rng)
        second = varied(ground.second, rng) if ground.second else dimmed(colour, 1.0)
        scale = rng.choice([6, 15, 30])
        material = Material(colour, second, scale=scale, roughness=0.8, bump=0.0 if ground.has_wall else 0.5)
        far = HALF_GROUND
        corners = [(-far, -far, 0), (far, -far, 0), (far, far, 0), (-far, far, 0)]
        materials: dict[Material, bpy.types.Material] = {}
        self._add_part(Part(_quad(corners), material, smooth=False), materials)
        if ground.has_wall:
            toward = Vector((math.cos(azimuth), math.sin(azimuth), 0))
            side, foot = Vector((-toward.y, toward.x, 0)) * far, -2.0 * toward
            up = Vector((0, 0, far))
            wall = [foot - side, foot + side, foot + side + up, foot - side + up]
            self._add_part(Part(_quad(wall), material, smooth=False), materials)

    def _place_light(self, azimuth: float, rng: random.Random) -> None:
        if self.panoramas:
            self.panorama.image = rng.choice(self.panoramas)
        self.turn.inputs["Rotation"].default_value[2] = rng.uniform(0, 2 * math.pi)
        self.sky.inputs["Strength"].default_value = rng.uniform(0.6, 1.1)
        self.sun.data.energy = rng.uniform(0.5, 4)
        turn = azimuth + math.pi / 2 + rng.uniform(-1.5, 1.5)
        self.sun.rotation_euler = (rng.uniform(0.2, 1.0), 0, turn)

    def _place_camera(self, subject: Subject, azimuth: float, elevation: float, rng: random.Random) -> None:
        distance = max(subject.height, 2 * subject.radius) * rng.uniform(1.75, 2.2) + 0.15
        middle = Vector((rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04), subject.height / 2))
        flat = math.cos(elevation)
        direction = Vector((flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)))
        self.camera.location = middle + distance * direction
        self.camera.rotation_euler = (-direction).to_track_quat("-Z", "Y").to_euler()


def _quad(corners: list) -> Mesh:
    """One face."""
    return Mesh(np.array([tuple(corner) for corner in corners], float), [(0, 1, 2, 3)])
