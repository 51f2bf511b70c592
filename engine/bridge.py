"""The finishing stage: a bridge that all views cross together, and colours fitted to where they arrive.

The paper's full bridge (arXiv 2406.09417, section 3) takes an image from y_src to y_tgt: inverted along the probability-flow ODE under
the one, decoded under the other. (A network that predicts the picture cannot be inverted well: close to it the noise that it implies is
its own error divided by almost nothing. Then noise is added instead, other noise in each view, so that what it leaves behind averages
out.) Here the images are views of one surface. At several steps of the way back their clean estimates are brought to agree on the
surface (`engine.render.fusing`), so that what arrives is one texture seen from many sides; then the colour field is fitted to it. First
whole views, then close-ups, which set out from less noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from engine.camera import Cameras, orbit, view_words
from engine.diffusion.prior import Conditions
from engine.distillation import Distillation
from engine.guidance.pf_ode import GuidedPrompt, levels, time_grid
from engine.guidance.step import ConditionPair, Region
from engine.job_fields import Hyperparameters
from engine.render.control import SURFACE_CHANNELS
from engine.render.fusing import SeenSurface, fuse_views, see_surface
from engine.render.images import linear_to_srgb, srgb_to_linear
from engine.render.shading import Light, render_views
from engine.reporting import OnStep, unwatched
from engine.view_batch import ViewBatch
from engine.views import BACKGROUNDS

PHASES = ("whole views", "close-ups")

AMBIENT = 0.75
"""Of a light that comes from the camera, so that shading is known, slight, and taken off again."""
UPPER_SHARE = 1 / 3
"""Of the views, from UPPER degrees; the others from LOWER."""
LOWER, UPPER = 12.0, 42.0
ZOOM = 1.8
LESS_NOISE = 0.7
"""Where close-ups set out, as a share of where whole views do."""
FUSED_UNTIL = 0.75
"""Share of the way back over which the estimates are brought to agree: in every second step of it, and at its end."""
LEAST_TRUST = 0.1
"""Of a pixel at the silhouette, where a small network lets the background run into the surface."""
FIT_STEPS = 60
BACKDROP = BACKGROUNDS[1]
"""Grey: what of it runs into the surface is seen least."""


def phases(numbers: Hyperparameters) -> tuple[str, ...]:
    """Those of PHASES that a job has."""
    return PHASES[: 0 if numbers.finish_steps == 0 else 2 if numbers.finish_close_ups else 1]


def planned_steps(numbers: Hyperparameters, phase: int) -> int:
    """What a phase tells of as steps: estimates of as many views as a step of the stages has, and steps of the fit."""
    views, ways = numbers.finish_views * (numbers.finish_close_ups if phase else 1), 1 if numbers.finish_start == "noised" else 2
    return ways * numbers.finish_steps * math.ceil(views / numbers.views) + FIT_STEPS


@dataclass(frozen=True)
class Targets:
    """Colours sRGB [N, 3] that places [N, 3] of the surface arrived at, and what each counts [N]."""

    points: Tensor
    colours: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Layers:
    """What views under a light from the camera are made of.

    shade   [B, 1, S, S], what the light does to linear colours
    mask    [B, 1, S, S], the covered share of a pixel
    trust   [B, 1, S, S] in 0..1, what a pixel says of the surface: less where the background shines through or is next to it
    behind  [3, 1, 1], the background's linear colour
    """

    seen: SeenSurface
    shade: Tensor
    mask: Tensor
    trust: Tensor
    behind: Tensor

    @classmethod
    def of(cls, seen: SeenSurface, mask: Tensor, behind: Tensor) -> Layers:
        """Of views with a covered share before an sRGB background [3]."""
        direction = functional.normalize(seen.cameras.eye, dim=1)[:, None, None].to(seen.normals)
        shade = (AMBIENT + (1 - AMBIENT) * (seen.normals * direction).sum(-1).clamp(min=0))[:, None]
        inside = -functional.max_pool2d(-mask, 3, stride=1, padding=1)
        trust = (LEAST_TRUST + (1 - LEAST_TRUST) * inside) * mask * seen.covered[:, None]
        return cls(seen, shade, mask, trust, srgb_to_linear(behind)[:, None, None])

    def unlit(self, pictures: Tensor) -> Tensor:
        """The sRGB colours that show so under the light and before the background."""
        own = (srgb_to_linear(pictures) - (1 - self.mask) * self.behind) / self.mask.clamp(min=LEAST_TRUST)
        return linear_to_srgb((own / self.shade).clamp(0, 1))

    def lit(self, albedo: Tensor) -> Tensor:
        """The reverse of `unlit`."""
        return linear_to_srgb((srgb_to_linear(albedo) * self.shade * self.mask + (1 - self.mask) * self.behind).clamp(0, 1))


class SurfaceBridge:
    """The finishing stage of a job whose stages are done. `run` one of its `phases` after the other.

    job   its subject's colours change in place, nothing else of it does
    seed  decides where close-ups look; a phase depends on nothing but the subject and this
    """

    def __init__(self, job: Distillation, seed: int) -> None:
        self.job = job
        self.seed = seed
        self.numbers = job.hyperparameters
        self.vertices, self.faces = job.see()

    def run(self, phase: int, on_step: OnStep = unwatched) -> Tensor:
        """Takes the colours over the bridge; returns the views as they arrived, sRGB [B, 3, S, S]."""
        done, total = 0, planned_steps(self.numbers, phase)

        def tick() -> None:
            nonlocal done
            done += 1
            on_step(min(done, total), total)

        cameras = self.cameras(phase)
        targets, pictures = self.cross(cameras, phase, tick)
        self.fit(targets, tick)
        return pictures

    # The views

    def cameras(self, phase: int) -> Cameras:
        """Whole views all round at two heights, or close-ups of what those see."""
        count = self.numbers.finish_views
        upper = max(round(count * UPPER_SHARE), 1) if count > 2 else 0
        azimuth = [360 * n / (count - upper) for n in range(count - upper)] + [360 * (n + 0.5) / upper for n in range(upper)]
        elevation = [LOWER] * (count - upper) + [UPPER] * upper
        distance = (self.numbers.distance_low + self.numbers.distance_high) / 2
        whole = orbit(azimuth, elevation, distance, self.numbers.fov).to(self.vertices.device)
        return whole if phase == 0 else self._closer(whole)

    def _closer(self, cameras: Cameras) -> Cameras:
        """Several for each camera: its picture enlarged about a place of the surface that it sees."""
        generator = torch.Generator().manual_seed(self.seed)
        seen = see_surface(self.job.rasterizer, self.vertices, self.faces, cameras, self.job.prior.image_size, self.job.two_sided)
        chosen, crops = [], []
        for view in range(len(cameras)):
            places = seen.points[view][seen.covered[view]]
            if not len(places):
                continue
            for place in places[torch.randint(len(places), (self.numbers.finish_close_ups,), generator=generator).to(places.device)]:
                clip = cameras.select([view]).clip(place[None])[0, 0]
                middle = (clip[:2] / clip[3]).clamp(-1 + 1 / ZOOM, 1 - 1 / ZOOM)
                crop = torch.diag(torch.tensor([ZOOM, ZOOM, 1.0, 1.0], device=clip.device))
                crop[:2, 3] = -ZOOM * middle
                chosen.append(view)
                crops.append(crop)
        near = cameras.select(chosen)
        return replace(near, projection=torch.stack(crops) @ near.projection) if chosen else cameras

    # The bridge

    @torch.no_grad()
    def cross(self, cameras: Cameras, phase: int, tick: Callable[[], None]) -> tuple[Targets, Tensor]:
        """The views carried towards noise and decoded under y_tgt together: what their places arrived at, and the pictures."""
        prior, numbers = self.job.prior, self.numbers
        prompts, pictures, layers = self._look(cameras, f"{BACKDROP.words}{', close up' if phase else ''}")
        last = max(round(numbers.finish_noise * (LESS_NOISE if phase else 1.0) * len(prior.schedule)) - 1, 1)
        times = time_grid(prior, numbers.finish_steps, last)
        x = self._set_out(prior.encode(pictures), prompts, times, tick)
        albedo = agreed = pictures
        back = times[::-1]
        for step, (t, after) in enumerate(pairwise(back)):
            noise = self._noise(prompts.target, x, t, tick, prompts.regions)
            if after == back[-1] or (step % 2 == 0 and step < FUSED_UNTIL * (len(back) - 1)):
                clean = prior.schedule.clean_estimate(x, noise, torch.full((len(x),), t, device=x.device))
                shown = prior.decode(clean)
                albedo = fuse_views(layers.unlit(shown), layers.seen, layers.trust)
                agreed = layers.lit(albedo)
                clean = clean + prior.encode(agreed) - prior.encode(shown)  # an autoencoder's own losses cancel
                alpha, sigma = levels(prior, t, x)
                noise = (x - alpha * clean) / sigma
            x = self._moved(x, noise, t, after)
        seen = layers.seen
        weights = (seen.facing() * layers.trust[:, 0])[seen.covered]
        return Targets(seen.points[seen.covered], albedo.permute(0, 2, 3, 1)[seen.covered], weights), agreed

    def _set_out(self, clean: Tensor, prompts: ConditionPair, times: list[int], tick: Callable[[], None]) -> Tensor:
        """The clean latents carried to the last of the times: by noise of their own, or inverted under y_src."""
        prior = self.job.prior
        if self.numbers.finish_start == "noised":
            alpha, sigma = levels(prior, times[-1], clean)
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(self.seed + len(clean)), dtype=clean.dtype)
            return alpha * clean + sigma * noise.to(clean.device)
        x = levels(prior, times[0], clean)[0] * clean
        assert prompts.source is not None
        for t, after in pairwise(times):
            x = self._moved(x, self._noise(prompts.source, x, t, tick), t, after)
        return x

    def _look(self, cameras: Cameras, words: str) -> tuple[ConditionPair, Tensor, Layers]:
        """y_src and y_tgt of the views as in a step, the views as they are under a light from the camera, and what they are made of."""
        job, size = self.job, self.job.prior.image_size
        light = Light(functional.normalize(cameras.eye, dim=1), AMBIENT)
        colour = torch.tensor(BACKDROP.colour, device=cameras.device)
        behind = colour.expand(len(cameras), 3)
        views = render_views(
            job.rasterizer, self.vertices, self.faces, cameras, size, job.subject.colour, light, behind,
            supersample=2, want=("rgb", *SURFACE_CHANNELS), two_sided=job.two_sided,
        )  # fmt: skip
        prompts = job.conditions(views, ViewBatch(cameras, light, behind, [f", {words}, {view}" for view in view_words(cameras)]))
        seen = see_surface(job.rasterizer, self.vertices, self.faces, cameras, size, job.two_sided)
        return prompts, views.rgb, Layers.of(seen, views.mask, colour)

    def _noise(self, conditions: Conditions, x: Tensor, t: int, tick: Callable[[], None], regions: tuple[Region, ...] = ()) -> Tensor:
        """The noise estimate for all views, as many at a time as a step of the stages has; in regions by what is asked there."""
        found = []
        for start in range(0, len(x), self.numbers.views):
            rows = list(range(start, min(start + self.numbers.views, len(x))))
            noise = GuidedPrompt(conditions.select(rows), self.numbers.finish_scale).noise(self.job.prior, x[rows], t)
            for region in regions:
                own = GuidedPrompt(region.prompts.target.select(rows), self.numbers.finish_scale).noise(self.job.prior, x[rows], t)
                share = functional.interpolate(region.share[rows].to(x), size=x.shape[-2:], mode="area")
                noise = noise + share * (own - noise)
            found.append(noise)
            tick()
        return torch.cat(found)

    def _moved(self, x: Tensor, noise: Tensor, t: int, after: int) -> Tensor:
        """A DDIM step from one timestep to another."""
        (alpha, sigma), (alpha_after, sigma_after) = levels(self.job.prior, t, x), levels(self.job.prior, after, x)
        return alpha_after * (x - sigma * noise) / alpha + sigma_after * noise

    # The colours

    def fit(self, targets: Targets, tick: Callable[[], None]) -> None:
        """Adam on the colour field: towards the targets, and towards the artist's colours as in the other stages."""
        subject = self.job.subject
        optimizer = torch.optim.Adam(subject.colour.parameter_groups(self.numbers.colour_lr), betas=(0.9, 0.99), fused=True)
        with torch.no_grad():
            artist, known = (0.0, 0.0) if subject.artist is None else subject.artist(targets.points)
        weights = targets.weights[:, None] / targets.weights.mean().clamp(min=1e-6)
        for step in range(FIT_STEPS):
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
                group["lr"] = group["initial_lr"] * (1 - step / FIT_STEPS)
            colours = subject.colour(targets.points)
            loss = (weights * (colours - targets.colours).square()).sum()
            loss = loss + self.job.colour_weight * (known * (colours - artist).square()).sum()
            optimizer.zero_grad(set_to_none=True)
            (loss / len(targets.points)).backward()
            optimizer.step()
            tick()
