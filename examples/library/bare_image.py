"""A bare image by the paper's two stages: nothing but pixels is optimized.

python examples/library/bare_image.py --prompt "a photo of a red mushroom" --out mushroom.png
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from engine.guidance import Guide, load_prior


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default="a photo of a red mushroom")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("image.png"))
    options = parser.parse_args(argv)

    prior = load_prior(options.model)
    guide = Guide(prior, options.prompt, method="calibrated", steps=options.steps, switch=0.4)
    for note in guide.notes:
        print("note:", note)

    generator = torch.Generator().manual_seed(0)
    pixels = 0.1 * torch.randn(1, 3, prior.image_size, prior.image_size, generator=generator)
    pixels.requires_grad_()  # the image is their sigmoid
    adam = torch.optim.Adam([pixels], lr=0.05)
    for step in range(options.steps):
        loss, figures = guide.loss(pixels.sigmoid(), step)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 50 == 0:
            print(f"step {step}, stage {figures['stage']:.0f}, gradient {figures['gradient']:.3f}")

    picture = (pixels.detach().sigmoid()[0].permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(picture).save(options.out)
    return pixels.detach()


if __name__ == "__main__":
    main()
