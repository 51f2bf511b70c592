"""Training the prior that sees the surface: its trainer, and the sheet by which its course is judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.diffusion.surface_unet import SurfaceUNet
from scripts.prior.data.part_words import PAINTS, with_parts
from scripts.prior.networks import make_scheduler
from scripts.prior.surface.attention import attention_loss
from scripts.prior.surface.dataset import IMAGE_SIZE, Told, View, resized, unpack_control
from scripts.prior.surface.teacher import Teacher
from scripts.prior.training import TextFeatures, Trainer

SHEET_ROWS = 14
SHEET_ZOOM = 2
SAMPLING_STEPS = 15
GUIDANCE = 3.0

ATTENTION_WEIGHT = 0.05
"""Of the attention's loss beside the pictures'."""


class SurfaceTrainer(Trainer):
    """`Trainer` for a `SurfaceUNet`: squared error, and attention drawn to the words of the part that each place shows.

    teacher  of what it knows, see `scripts.prior.surface.teacher`
    """

    teacher: Teacher | None = None

    def loss(self, unet: SurfaceUNet, latents: Tensor, features: Told, generator: torch.Generator) -> Tensor:
        """A scalar."""
        error = super().loss(unet, latents, features, generator)
        return error + ATTENTION_WEIGHT * attention_loss(features.shares, features.spoken)

    def predict(self, unet: SurfaceUNet, noised: Tensor, timesteps: Tensor, features: Told) -> Tensor:
        """The clean pictures."""
        return unet(noised, timesteps, features.states.to(noised.dtype), features.control.to(noised.dtype), features.shares)

    def wanted(self, latents: Tensor, noised: Tensor, timesteps: Tensor, features: Told) -> Tensor:
        """The clean pictures, or what the teacher makes of them."""
        return latents if self.teacher is None else self.teacher.mixed(latents, noised, timesteps, features)


@torch.no_grad()
def sample(
    unet: SurfaceUNet,
    texts: TextFeatures,
    captions: Sequence[str],
    control: Tensor,
    *,
    guidance: float = GUIDANCE,
    steps: int = SAMPLING_STEPS,
    seed: int = 0,
    bf16: bool = True,
) -> Tensor:
    """DDIM with classifier-free guidance under controls [N, 5, S, S]: pictures float32 [N, 3, S, S] in 0..1."""
    count = len(captions)
    states = texts([*captions, *[""] * count])
    both = torch.cat([control, control])
    x = torch.randn((count, 3, *control.shape[2:]), generator=torch.Generator().manual_seed(seed))
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            told, untold = unet(torch.cat([x, x]), timestep.expand(2 * count), states, both).float().chunk(2)
        clean = (untold + guidance * (told - untold)).clamp(-1.1, 1.1)
        x = scheduler.step(clean, timestep, x).prev_sample
    return ((x + 1) / 2).clamp(0, 1)


def training_sheet(unet: SurfaceUNet, texts: TextFeatures, views: list[View], path: Path, bf16: bool) -> None:
    """Held-out subjects in columns: the coarse control's normals, a plain prompt, one with parts, another colour, and Cycles' picture."""
    if not views:
        return
    chosen = views[:: max(1, len(views) // SHEET_ROWS)][:SHEET_ROWS]
    control = torch.stack([resized(unpack_control(view.coarse), IMAGE_SIZE) for view in chosen])
    plain = [f"{view.said[-1].caption}, on a grey background" for view in chosen]
    told = [_with_two_parts(view) for view in chosen]
    rows = [control[:, :3] / 2 + 0.5, sample(unet, texts, plain, control, bf16=bf16), sample(unet, texts, told, control, bf16=bf16)]
    rows.append(torch.stack([resized(view.rendered.float() / 255, IMAGE_SIZE) for view in chosen]))
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    image = Image.fromarray((sheet * 255).round().byte().permute(1, 2, 0).numpy())
    image.resize((image.width * SHEET_ZOOM, image.height * SHEET_ZOOM), Image.Resampling.NEAREST).save(path)
    path.with_suffix(".txt").write_text("\n".join(f"{a} | {b}" for a, b in zip(plain, told, strict=True)), "utf-8")


def _with_two_parts(view: View) -> str:
    """The view's subject with up to two parts in colours that it has not; the same ones for the same view."""
    rng = np.random.default_rng(int(view.pair.subject.replace("_", "")))
    names = list(view.said[-1].looks)[:2]
    looks = {name: str(rng.choice(PAINTS)) for name in names}
    return f"{with_parts(view.said[-1].caption, looks, names)}, on a white background"
