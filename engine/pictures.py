"""Picture files in and out: everything that opens an image given by a user goes through here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.errors import InputError, writing
from engine.formats.beside import read_regular
from engine.formats.files import replacing
from engine.formats.textures import UnreadableImage, open_image

PNG_SUFFIX, GIF_SUFFIX = ".png", ".gif"
IMAGE_SUFFIXES = (PNG_SUFFIX, ".jpg", ".jpeg", ".webp")
"""Of pictures that are read."""


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name; hidden files (such as a Mac's `._photo.jpg`) and folders are none."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in files if path.is_file())


WHITE = (255, 255, 255)


def read_square(path: Path, size: int, ground: tuple[int, int, int] = WHITE) -> Tensor:
    """[3, size, size] in 0..1: the central square of an image file as a viewer shows it, transparent parts over `ground`.

    InputError if there is no such file, if it cannot be read, or if it has more pixels than `engine.formats.textures` reads.
    """
    from PIL import Image

    if not path.exists():
        raise InputError("missing_file", f"There is no image file '{path}'.", "Check the path.")
    try:
        image = open_image(read_regular(path))
    except UnreadableImage as error:
        raise InputError(
            "file_too_large" if error.too_large else "corrupt_file",
            f"'{path}' cannot be read as an image ({error}).",
            "Give a .png, .jpg or .webp picture of moderate size.",
        ) from error
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    flat = Image.alpha_composite(Image.new("RGBA", square.size, (*ground, 255)), square).convert("RGB")
    return torch.from_numpy(np.array(flat)).permute(2, 0, 1).float() / 255


def to_bytes(image: Tensor) -> np.ndarray:
    """[3, H, W] in 0..1 -> uint8 [H, W, 3]."""
    return (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def check_target(path: Path, suffixes: Sequence[str]) -> Path:
    """The path, if a file can be written there and has one of these suffixes; InputError before any work is done."""
    if path.suffix.lower() not in suffixes:
        raise InputError("unsupported_format", f"The output '{path}' should end in {' or '.join(suffixes)}.", "Give it that ending.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "cannot_write", f"The folder '{path.parent}' cannot be made ({error.strerror}).", "Choose another place."
        ) from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError("cannot_write", f"'{path}' cannot be written.", "Choose another place, or change its permissions.")
    return path


def write_image(path: Path, image: Tensor, smallest: int = 0) -> None:
    """[3, H, W] in 0..1 as PNG, whole or not at all; enlarged by a whole factor to at least `smallest` pixels a side."""
    from PIL import Image

    picture = Image.fromarray(to_bytes(image))
    factor = max(-(-smallest // min(picture.size)), 1)
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    _replace(path, lambda part: picture.save(part, format="PNG"))


def write_animation(path: Path, frames: Sequence[Tensor], smallest: int = 256, milliseconds: int = 80, last: int = 1500) -> None:
    """Frames [3, H, W] as a looping GIF (.gif), the last of them shown for its own time, or side by side in one picture (.png)."""
    from PIL import Image

    if path.suffix.lower() == PNG_SUFFIX:
        write_image(path, torch.cat(list(frames), dim=2))
        return
    factor = max(-(-smallest // frames[0].shape[-1]), 1)
    size = (frames[0].shape[-1] * factor, frames[0].shape[-2] * factor)
    pictures = [Image.fromarray(to_bytes(frame)).resize(size, Image.Resampling.BICUBIC) for frame in frames]
    times = [milliseconds] * (len(pictures) - 1) + [last]
    _replace(path, lambda part: pictures[0].save(part, format="GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0))


def grid(images: Tensor, columns: int) -> Tensor:
    """Images [N, 3, H, W] in rows of `columns`; missing ones are white."""
    missing = -len(images) % columns
    padded = torch.cat([images, torch.ones(missing, *images.shape[1:], dtype=images.dtype)])
    rows = padded.view(-1, columns, *images.shape[1:])
    return torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)


def _replace(path: Path, save: Callable[[Path], None]) -> None:
    with writing(path), replacing(path) as unfinished:
        save(unfinished)
