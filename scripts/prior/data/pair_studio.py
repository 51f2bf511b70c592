"""The Blender side of the pairs: several views of one subject, repainted for each, with the camera of every picture. Needs bpy."""

from __future__ import annotations

import math
import random
from pathlib import Path

import bpy

from engine.views import view_word
from scripts.prior.data.grounds import GROUNDS, Ground
from scripts.prior.data.shader_nodes import build_material
from scripts.prior.data.studio import Studio
from scripts.prior.data.workbench import Part, Subject

SKY_RESOLUTION = 64
"""The sky's importance map is rebuilt for every subject; at its usual size that takes longer than the picture."""

LOWEST_EYE = 0.03


class PairStudio(Studio):
    """A studio that keeps a subject's objects for all its views: only paint, light and background change."""

    def __init__(self, size: int, samples: int, threads: int) -> None:
        super().__init__(size, samples, threads)
        cycles = self.scene.cycles
        cycles.max_bounces = cycles.transmission_bounces = 2
        cycles.diffuse_bounces = cycles.glossy_bounces = 1
        world = self.scene.world.cycles
        world.sampling_method, world.sample_map_resolution = "MANUAL", SKY_RESOLUTION

    def place(self, parts: list[Part]) -> None:
        """Clear the scene and put the subject's parts there."""
        self._clear()
        before = set(self.scene.objects)
        for part in parts:
            self._add_part(part, {})
        self._subject = [thing for thing in self.scene.objects if thing not in before]
        self._kept = {thing.name for thing in self.scene.objects}

    def paint(self, parts: list[Part]) -> None:
        """Give the placed objects the materials of these parts, which must be the same parts in the same order."""
        looks = {look: build_material(look) for look in dict.fromkeys(part.material for part in parts)}
        for thing, part in zip(self._subject, parts, strict=True):
            thing.data.materials[0] = looks[part.material]

    def shoot(self, subject: Subject, rng: random.Random, path: Path) -> tuple[Ground, str, list[list[float]]]:
        """One picture in a random setting: its ground, the view's words, and the camera's world matrix (Blender's axes)."""
        for thing in list(self.scene.objects):
            if thing.name not in self._kept:
                bpy.data.objects.remove(thing, do_unlink=True)
        azimuth = rng.uniform(-math.pi, math.pi)
        elevation = math.radians(rng.uniform(-5, 32) if rng.random() < 0.75 else rng.uniform(32, 75))
        ground = rng.choice(GROUNDS)
        self._place_ground(ground, azimuth, rng)
        self._place_light(azimuth, rng)
        self._place_camera(subject, azimuth, elevation, rng)
        self.camera.location.z = max(self.camera.location.z, LOWEST_EYE)
        bpy.context.view_layer.update()
        self.scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        return ground, view_word(math.degrees(azimuth) + 90, math.degrees(elevation)), [list(row) for row in self.camera.matrix_world]
