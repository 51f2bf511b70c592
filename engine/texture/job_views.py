"""The views of a texture job: its orbit, and the further cameras that cover what the orbit cannot see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree

from engine.job_fields import Hyperparameters
from engine.mesh import Mesh
from engine.texture.artist import painted_points
from engine.texture.coverage import Coverage
from engine.texture.placement import ENOUGH, MOST, FurtherCameras, further_cameras
from engine.view_batch import ViewBatch, sample_cameras, sample_view_batch

ORBIT_VIEWS = 48
"""Views of the orbit by which its coverage is judged, where the job takes as many."""
LEAST_TURNS = 4
"""Of a job's steps that a further camera gets on average, so that each is sure to have its turn."""


@dataclass(frozen=True)
class TextureViews:
    """What a texture job looks at.

    coverage  by its orbit and the further cameras
    further   cameras beyond the orbit, None where they add nothing or none are wanted
    each      how many of a step's views they take
    """

    coverage: Coverage
    further: FurtherCameras | None
    each: int = 1

    @classmethod
    def of(cls, mesh: Mesh, numbers: Hyperparameters, size: int, seed: int) -> TextureViews:
        """For a mesh in engine space and pictures `size` pixels a side. Views that are drawn at random stand for those of the job."""
        steps = numbers.stage1_steps + numbers.stage2_steps
        each = min(numbers.coverage_views, numbers.views - 1)
        count = max(min(ORBIT_VIEWS, steps * (numbers.views - each)), 1)
        orbit = sample_cameras(dataclasses.replace(numbers, views=count), torch.Generator().manual_seed(seed))
        coverage = Coverage(mesh, orbit, size)
        further = None
        if each and steps and coverage.share < ENOUGH:
            most = min(MOST, max(steps * each // LEAST_TURNS, 1))
            further = further_cameras(coverage, size, numbers.distance_high, numbers.fov, most)
        return cls(coverage, further, each)

    def sampler(self, device: torch.device) -> Callable[[Hyperparameters, torch.Generator, int], ViewBatch]:
        """What draws the views of a step; the further cameras take turns."""

        def sample(numbers: Hyperparameters, generator: torch.Generator, step: int) -> ViewBatch:
            count = min(self.each, numbers.views - 1)
            return sample_view_batch(numbers, generator, device, self.further.at(step, count) if self.further and count else None)

        return sample

    def told(self) -> list[str]:
        """What to tell the user of what the views see."""
        places = self.coverage
        note = f"The views see {100 * places.share:.1f} % of what can be seen of the surface"
        if self.further is not None:
            note += f", {len(self.further)} of them placed where the orbit sees nothing"
        hidden = float((places.openness == 0).mean()) if len(places.places) else 0.0
        return [f"{note}; {100 * hidden:.0f} % of it nobody can see." if hidden >= 0.005 else f"{note}."]

    def chosen(self, mesh: Mesh) -> np.ndarray:
        """bool [N]: the coverage's points whose colour somebody chose on the mesh (engine space)."""
        points, colours = painted_points(mesh)
        known = np.asarray(np.isfinite(colours).all(axis=1))
        if not known.any() or not len(self.coverage.places):
            return np.zeros(len(self.coverage.places), bool)
        return known[KDTree(points).query(self.coverage.places.points)[1]]

    def figures(self, finished: Mesh, local: Mesh, numbers: Hyperparameters) -> dict[str, float]:
        """For the report: coverage_percent of what can be seen, and effective_resolution of the finished mesh's texture, texels a side."""
        found = {"coverage_percent": round(100 * self.coverage.share, 2)}
        if finished.uvs is not None and len(finished.faces) == len(local.faces) and len(self.coverage.places):
            told = self.coverage.effective(
                dataclasses.replace(local, uvs=finished.uvs), numbers.texture_size, (numbers.colour_grid - 1) / 2
            )
            found["effective_resolution"] = round(told)
        return found
