"""The guidance in somebody else's NeRF: a small network of density and colour, which knows nothing of this project.

python examples/library/nerf_loop.py --prompt "a photo of a red apple" --out apple.pt
"""

import argparse
import math
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from engine.guidance import Guide, load_prior


class Nerf(nn.Module):
    """Their model: positions -> density and colour; their renderer: a camera at an angle -> a picture over white."""

    def __init__(self):
        super().__init__()
        self.frequencies = 2.0 ** torch.arange(4)
        self.layers = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, azimuth, elevation, size=32, samples=32):
        a, e = math.radians(azimuth), math.radians(elevation)
        eye = 3 * torch.tensor([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)])
        right = torch.tensor([math.cos(a), math.sin(a), 0.0])
        up = torch.linalg.cross(eye / 3, right)
        v, u = torch.meshgrid(torch.linspace(0.36, -0.36, size), torch.linspace(-0.36, 0.36, size), indexing="ij")
        rays = nn.functional.normalize(u[..., None] * right + v[..., None] * up - eye / 3, dim=-1)
        points = eye + rays[..., None, :] * torch.linspace(2, 4, samples)[:, None]
        waves = (points[..., None] * self.frequencies).flatten(-2)
        found = self.layers(torch.cat([waves.sin(), waves.cos()], -1))
        density = nn.functional.softplus(found[..., 0] + 5 - 10 * points.norm(dim=-1))
        thick = density * (2 / samples)
        weight = torch.exp(thick - thick.cumsum(-1)) * (1 - torch.exp(-thick))
        return (weight[..., None] * found[..., 1:].sigmoid()).sum(-2) + (1 - weight.sum(-1, keepdim=True))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default="a photo of a red apple")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("nerf.pt"))
    options = parser.parse_args(argv)

    torch.manual_seed(0)
    nerf = Nerf()
    guide = Guide(load_prior(options.model), options.prompt, steps=options.steps, t_high_end=0.5)
    adam = torch.optim.Adam(nerf.parameters(), lr=2e-3)
    for step in range(options.steps):
        cameras = SimpleNamespace(azimuth=torch.rand(2) * 360 - 180, elevation=torch.rand(2) * 45)
        views = [nerf(*angles) for angles in zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)]
        loss, figures = guide.loss(torch.stack(views).permute(0, 3, 1, 2), step, cameras=cameras)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 50 == 0:
            print(f"step {step}, stage {figures['stage']:.0f}, gradient {figures['gradient']:.3f}")
    torch.save(nerf.state_dict(), options.out)
    return nerf


if __name__ == "__main__":
    main()
