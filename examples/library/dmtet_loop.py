"""The guidance in a loop of the DMTet kind (Fantasia3D, Magic3D): a signed distance on tetrahedra, a rasterizer, colours at vertices.

python examples/library/dmtet_loop.py --prompt "a photo of a red mushroom" --out mushroom.obj
"""

import argparse
from pathlib import Path

import torch

from engine.camera import sample_orbit
from engine.guidance import Guide, load_prior
from engine.isosurface.dmtet import TetGrid  # stands in for the pipeline's own tetrahedra
from engine.render.base import select_rasterizer  # and for its rasterizer
from engine.render.shading import render_views, sample_light


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default="a photo of a red mushroom")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--grid", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("mesh.obj"))
    options = parser.parse_args(argv)

    prior, rasterizer = load_prior(options.model), select_rasterizer("cpu")
    guide = Guide(prior, options.prompt, steps=options.steps, t_high=0.8, t_high_end=0.5)
    generator = torch.Generator().manual_seed(0)
    grid = TetGrid.make(options.grid)
    distance = (grid.points.norm(dim=1) - 0.6).requires_grad_()
    colours = torch.zeros(8, 8, 8, 3).requires_grad_()
    adam = torch.optim.Adam([{"params": [distance], "lr": 2e-3}, {"params": [colours], "lr": 5e-2}])

    def colour(points):
        volume = colours.permute(3, 2, 1, 0)[None]
        return torch.nn.functional.grid_sample(volume, points.detach().view(1, 1, 1, -1, 3), align_corners=True).view(3, -1).T.sigmoid()

    for step in range(options.steps):
        cameras = sample_orbit(generator, 2)
        vertices, faces = grid.surface(distance)
        views = render_views(
            rasterizer, vertices, faces, cameras, prior.image_size, colour, sample_light(generator, cameras), want=("rgb",)
        )
        loss, figures = guide.loss(views.rgb, step, cameras=cameras)
        start, end = grid.edges.unbind(1)
        smooth = (distance[start] - distance[end] - (grid.points[start].norm(dim=1) - grid.points[end].norm(dim=1))).square().sum()
        adam.zero_grad()
        (loss + 30 * smooth).backward()
        adam.step()
        if step % 50 == 0:
            print(f"step {step}, stage {figures['stage']:.0f}, {len(faces)} faces")

    vertices, faces = grid.surface(distance.detach())
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices.tolist()]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces.tolist()]
    options.out.write_text("\n".join(lines) + "\n")
    return vertices, faces


if __name__ == "__main__":
    main()
