"""What the image laboratory shows a model of a surface: pictures and ControlNet folders as they are given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError, ModelError
from engine.user_path import user_path

if TYPE_CHECKING:
    import torch

    from engine.diffusion.control_nets import ControlEntry
    from engine.diffusion.prior import Prior

LEAST_CONTRAST = 1 / 64
"""Between the brightest and the darkest place of a control that shows something."""

NOTHING = {"depth": (0, 0, 0), "normal": (128, 128, 255)}
"""What stands where a control picture is transparent, by its kind: a place without surface, as `engine.diffusion.control_nets` draws it."""


def sort_controls(given: Sequence[str]) -> tuple[list[Path], list[ControlEntry]]:
    """What `--control` names: pictures, and ControlNet folders. InputError for what is neither."""
    if not given:
        return [], []
    from engine.diffusion.control_nets import control_entry

    named = {text: user_path(text) for text in given}
    pictures = [named[text] for text in given if named[text].is_file()]
    return pictures, [control_entry(text) for text in given if not named[text].is_file()]


def read_control(prior: Prior, pictures: Sequence[Path]) -> torch.Tensor | None:
    """The pictures as the prior is told of them, [1, 3 K, S, S] in 0..1; None for a prior that looks at none.

    ModelError where the prior needs one and there is none, or takes none; InputError for a wrong number, or one that shows nothing.
    """
    import torch

    from engine.diffusion.prior import ControlledPrior
    from engine.pictures import read_square

    if not isinstance(prior, ControlledPrior):
        if not pictures:
            return None
        raise ModelError(
            "model_control",
            f"The model '{prior.name}' looks at no control such as '{pictures[0]}'.",
            "Leave --control out, or give a ControlNet folder beside a Stable Diffusion folder as well.",
        )
    if not pictures:
        raise ModelError(
            "model_control",
            f"The model '{prior.name}' looks at a picture of the surface while it paints, and there is none.",
            "Give one with --control PICTURE: depth, where near is bright, or normals, as the model was taught.",
        )
    if len(pictures) not in (1, prior.control_pictures):
        raise InputError(
            "bad_setting",
            f"{len(pictures)} control pictures were given; the model looks at {prior.control_pictures}.",
            f"Give one for all of them, or {prior.control_pictures}.",
        )
    kinds = [net.entry.kind for net in getattr(prior, "nets", ())]
    grounds = [NOTHING[kinds[place] if place < len(kinds) else "depth"] for place in range(len(pictures))]
    read = [read_square(path, prior.image_size, ground) for path, ground in zip(pictures, grounds, strict=True)]
    for path, picture in zip(pictures, read, strict=True):
        if float(picture.max() - picture.min()) < LEAST_CONTRAST:
            raise InputError(
                "bad_setting", f"The control picture '{path}' is of one colour: it shows no surface.", "Give a picture of depth or normals."
            )
    return torch.cat(read)[None].to(prior.device)
