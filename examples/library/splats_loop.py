"""The guidance in somebody else's Gaussian splats: round ones, drawn by a plain torch rasterizer that runs on any processor.

python examples/library/splats_loop.py --prompt "a photo of a red apple" --out apple.pt
"""

import argparse
import math
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from engine.guidance import Guide, load_prior


class Splats(nn.Module):
    """Their model: places, radii, opacities and colours; their rasterizer: a camera at an angle -> a picture over white."""

    def __init__(self, count=400):
        super().__init__()
        self.places = nn.Parameter(0.25 * torch.randn(count, 3))
        self.radii = nn.Parameter(torch.full((count,), math.log(0.08)))
        self.opacities = nn.Parameter(torch.full((count,), -1.0))
        self.colours = nn.Parameter(0.1 * torch.randn(count, 3))

    def forward(self, azimuth, elevation, size=32, focal=1 / 0.36):
        a, e = math.radians(azimuth), math.radians(elevation)
        eye = 3 * torch.tensor([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)])
        right = torch.tensor([math.cos(a), math.sin(a), 0.0])
        up = torch.linalg.cross(eye / 3, right)
        depth, order = ((self.places - eye) @ (-eye / 3)).sort()  # the nearest first
        seen = self.places[order] - eye
        across, height = focal * (seen @ right) / depth, focal * (seen @ up) / depth
        radius = focal * self.radii[order].exp() / depth
        v, u = torch.meshgrid(torch.linspace(1, -1, size), torch.linspace(-1, 1, size), indexing="ij")
        away = (u[..., None] - across).square() + (v[..., None] - height).square()
        alpha = self.opacities[order].sigmoid() * torch.exp(-away / (2 * radius.square()))
        left = torch.cumprod(1 - alpha, dim=-1)  # what of the light passes this one and those before it
        before = torch.cat([torch.ones(size, size, 1), left[..., :-1]], dim=-1)
        return (before * alpha) @ self.colours[order].sigmoid() + left[..., -1:]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default="a photo of a red apple")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("splats.pt"))
    options = parser.parse_args(argv)

    torch.manual_seed(0)
    splats = Splats()
    guide = Guide(load_prior(options.model), options.prompt, steps=options.steps, t_high_end=0.5)
    adam = torch.optim.Adam(splats.parameters(), lr=2e-2)
    for step in range(options.steps):
        cameras = SimpleNamespace(azimuth=torch.rand(2) * 360 - 180, elevation=torch.rand(2) * 45)
        views = [splats(*angles) for angles in zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)]
        loss, figures = guide.loss(torch.stack(views).permute(0, 3, 1, 2), step, cameras=cameras)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 50 == 0:
            print(f"step {step}, stage {figures['stage']:.0f}, gradient {figures['gradient']:.3f}")
    torch.save(splats.state_dict(), options.out)
    return splats


if __name__ == "__main__":
    main()
