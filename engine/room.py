"""The room that a job has: what it will take of the memory, told before it starts, and how much is asked of a large model at once, so that
it fits the card that is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.diffusion.control_nets import control_entries
from engine.diffusion.diffusers_prior import fast_dtype
from engine.diffusion.footprint import Footprint, Portion, footprint_of
from engine.diffusion.hub import cached
from engine.diffusion.load import EMBEDDED, HUB_ID, SURFACE_FOLDER
from engine.diffusion.prior import Prior
from engine.diffusion.references import reference_entries
from engine.errors import JobError
from engine.formats.map_files import DTYPES
from engine.job_fields import PRESETS, Hyperparameters, JobSettings
from engine.large_models import LARGE, NUMBERS, for_its_model
from engine.memory import (
    SURE,
    USUAL_SIZE,
    WEIGHTS_SHARE,
    expect,
    free_bytes,
    largest_grid,
    largest_texture,
    needed_bytes,
    weights_bytes,
)
from engine.texture.maps import KINDS, texel_bytes
from engine.user_path import user_path

ROOM = 0.9
"""Share of a card's free memory that a plan may take: the rest is lost between blocks."""
CERTAIN = 0.85
"""Share of an estimate by a large model's own shape that a job takes for certain: its weights are most of it."""
FACES = 20_000
"""Triangles of a sketch that is not known yet."""
STEP = 64
"""Pixels by which pictures become smaller: what every model of these classes divides by."""


@dataclass(frozen=True)
class Room:
    """What a job does in the memory that there is.

    told     the estimate, and what was lowered to keep to it, for the user
    numbers  of the job, lowered where they have to be
    portion  what is asked of a large model at once; None for every other, which stays as it is
    """

    told: str
    numbers: Hyperparameters
    portion: Portion | None = None

    def settled(self, prior: Prior) -> Prior:
        """The prior, asked for no more than that."""
        large: Any = prior
        if self.portion is not None and hasattr(prior, "look_at"):
            large.look_at(self.portion.pixels)
            large.compute_twice(self.portion.twice)
            large.at_once = self.portion.items
        return prior


@dataclass(frozen=True)
class Needs:
    """All that the estimate of a job depends on, but how much is asked of its model at once.

    weights    bytes of the model's weights where no more is known of it, and of what is beside it
    footprint  of a large model
    texts      whether its text encoders share the memory in question
    """

    mode: str
    numbers: Hyperparameters
    faces: int
    images: int
    maps: int
    weights: int
    footprint: Footprint | None
    texts: bool

    def weights_with(self, portion: Portion | None) -> int:
        """What the model counts for in `engine.memory.needed_bytes`."""
        if self.footprint is None or portion is None:
            return self.weights
        return self.weights + round(self.footprint.bytes(portion, texts=self.texts) / WEIGHTS_SHARE)

    def bytes(self, portion: Portion | None) -> int:
        """About what the job takes at its peak."""
        numbers = self.numbers if portion is None else dataclasses.replace(self.numbers, views=portion.views)
        pixels = USUAL_SIZE if portion is None else portion.pixels
        return needed_bytes(self.mode, numbers, self.faces, self.weights_with(portion), self.images, self.maps, pixels)


def presets_that_fit(model: str, device: torch.device) -> str:
    """Of a large model on a GPU: which presets fit there, for a sketch of FACES triangles; "" of every other."""
    if device.type != "cuda" or footprint_of(model_folder(model), fast_dtype(device)) is None:
        return ""
    told = []
    for preset in PRESETS:
        try:
            room = room_for(for_its_model(JobSettings("a chair", model=model, preset=preset)), FACES, device, 1)
        except JobError:
            told.append(f"{preset} does not fit")
        else:
            told.append(f"{preset} fits{' with less at once' * ('To fit' in room.told)}")
    return f"in the memory that is free now {', '.join(told)}"


def room_for(settings: JobSettings, faces: int, device: torch.device, images: int) -> Room:
    """What a job on a sketch of so many triangles will take and does. JobError where it cannot fit, with the numbers.

    On a GPU a large model is asked for less at once where its memory is short; on the CPU nothing is lowered: there the same settings
    always give the same result.
    """
    cuda = device.type == "cuda"
    needs = needs_of(settings, faces, device, images)
    free = free_on(device)
    wished = None if needs.footprint is None else Portion(needs.numbers.views, needs.footprint.pixels)
    portion = fitting(needs, free, wished, settings) if cuda and free is not None and wished is not None else wished
    weights = needs.weights_with(portion)
    texture = largest_texture(needs.mode, needs.numbers, needs.faces, weights, images, free, needs.maps)
    grid = largest_grid(needs.numbers, needs.faces, weights, free) if needs.mode == "refine" else None
    whose, sure = "the GPU" if cuda else "the machine", SURE if needs.footprint is None else CERTAIN
    told = expect(needs.bytes(portion), free, whose, grid, texture, sure)
    if portion is None or wished is None:
        return Room(told, needs.numbers)
    lowered = " ".join([told, *lowering(wished, portion)])
    return Room(lowered, dataclasses.replace(needs.numbers, views=portion.views), portion)


def needs_of(settings: JobSettings, faces: int, device: torch.device, images: int) -> Needs:
    """Of a job with so many faces on a device, by its settings and its model's folder."""
    folder = model_folder(settings.model)
    footprint = footprint_of(folder, fast_dtype(device))
    beside = sum(weights_bytes(entry.folder) for entry in control_entries(settings.control))
    beside += sum(entry.adapter.stat().st_size for entry in reference_entries(settings.reference))
    own = weights_bytes(folder) if footprint is None else 0
    maps = texel_bytes(KINDS[settings.maps], DTYPES[settings.map_format], refined=settings.mode == "refine")
    return Needs(settings.mode, settings.resolve(), faces, images, maps, own + beside, footprint, device.type != "cuda")


def model_folder(model: str) -> Path:
    """Where a model's files are; a folder that there may not be for one of the hub that was not fetched yet."""
    folder = SURFACE_FOLDER if model == EMBEDDED else user_path(model)
    return cached(model) or folder if not folder.exists() and HUB_ID.fullmatch(model) else folder


def free_on(device: torch.device) -> int | None:
    """Bytes of a device's memory that are free, None where nobody knows."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_bytes()


def fitting(needs: Needs, free: int, wished: Portion, settings: JobSettings) -> Portion:
    """The most of what is wished that fits into so many free bytes; the least that there is where nothing does."""
    fixed = wished.views != NUMBERS[settings.preset]["views"]  # a number of the user's own is kept
    portion = wished
    for portion in portions(wished, fixed):
        if needs.bytes(portion) <= ROOM * free:
            break
    return portion


def portions(wished: Portion, fixed_views: bool) -> Iterator[Portion]:
    """What may be asked at once, in the order of what it costs: all, the same in more time, fewer views, smaller pictures."""
    views, pixels = wished.views, wished.pixels
    while True:
        for items, twice in ((0, False), (1, False), (0, True), (1, True)):
            yield Portion(views, pixels, items, twice)
        if views > 1 and not fixed_views:
            views //= 2
        elif (less := smaller(pixels, wished.pixels)) < pixels:
            pixels = less
        else:
            return


def smaller(pixels: int, own: int) -> int:
    """The next size of pictures below: three quarters, at least half of the model's own size and `LARGE`; the same where there is none."""
    return min(pixels, max(pixels * 3 // 4 // STEP * STEP, own // 2, LARGE))


def lowering(wished: Portion, portion: Portion) -> list[str]:
    """What a portion does otherwise than was wished, a sentence each."""
    told = []
    if portion.items != wished.items:
        told.append("To fit, the model looks at one item at a time: slower, with the same result.")
    if portion.twice:
        told.append("To fit, the encoder keeps less and computes twice: slower, with the same result.")
    if portion.views != wished.views:
        told.append(f"To fit, a step has {portion.views} of {wished.views} views.")
    if portion.pixels != wished.pixels:
        told.append(f"To fit, the model sees pictures of {portion.pixels} pixels instead of {wished.pixels}: coarser detail.")
    return told
