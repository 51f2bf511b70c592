"""Prompts of their own for parts of a surface: where each part lies in the views of a step, and what is asked of the prior there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.camera import Cameras
from engine.render.base import Rasterizer

FINER = 4
"""Places along a side of a pixel at which the part is looked up."""


@dataclass(frozen=True)
class PartPrompts:
    """prompts  one a part; of_face  int64 [F], the part of each face counted from 1, 0 for those that the job's own prompt is for."""

    prompts: tuple[str, ...]
    of_face: Tensor

    @classmethod
    def of(cls, prompts: Sequence[tuple[str, Sequence[int]]], piece_of_face: Tensor) -> PartPrompts:
        """Of (prompt, pieces) pairs and the piece int64 [F] of each face; a piece that is named twice takes the later prompt."""
        of_face = torch.zeros(len(piece_of_face), dtype=torch.int64)
        for number, (_, pieces) in enumerate(prompts, 1):
            of_face[torch.isin(piece_of_face, torch.tensor(list(pieces)))] = number
        return cls(tuple(prompt for prompt, _ in prompts), of_face)

    @torch.no_grad()
    def weights(self, rasterizer: Rasterizer, cameras: Cameras, vertices: Tensor, faces: Tensor, side: int) -> Tensor:
        """[B, K, side, side]: how much of each pixel of each view shows each part, row 0 at the top."""
        rast, _ = rasterizer.rasterize(cameras.clip(vertices), faces, (FINER * side, FINER * side))
        part = torch.cat([self.of_face.new_zeros(1), self.of_face]).to(rast.device)[rast.flip(1)[..., 3].long()]
        shown = functional.one_hot(part, len(self.prompts) + 1)[..., 1:].permute(0, 3, 1, 2).to(vertices.dtype)
        return functional.avg_pool2d(shown, FINER)
