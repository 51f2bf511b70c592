"""The artist's own edges, given back where a finished surface is coloured.

The colour field is as fine as its grid: the border between two strokes of different colour is smeared over a cell. What was drawn
is known exactly. So where the field that was fitted to the sketch differs much from the sketch, an edge was lost there and the
difference is added to the refined colours; where it differs little, the strokes' uneven tones were evened out, and stay so.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import KDTree
from torch import Tensor, nn

from engine.mesh import Mesh
from engine.texture.artist import ArtistColours
from engine.texture.field import ColourField, surface_samples

SAMPLES = 300_000
"""Points on the sketch whose colours are looked up."""

EVEN, EDGE = 0.06, 0.15
"""sRGB differences of the fitted field from the sketch up to which they are uneven tones, and from which they are edges."""

NEIGHBOURS = 4
SOFTENING = 0.002
"""Engine units: samples nearer than this count alike."""

NEAR, FAR = 1.2, 1.6
"""Distances from the sketch, in thicknesses of its sheets, up to which a surface shows its edges, and from which it does not: what closing
filled lies further off, as do the strokes that show through the gaps of those above."""

CELLS = 64
"""Along each axis of the volume that tells where there are edges at all."""


class CrispColours(nn.Module):
    """Colours of a finished surface: the refined field's, with the edges of the artist's colours.

    field    the refined colours
    artist   what the field held before guidance: the sketch's colours as far as its grid can show them
    sketch   engine space, with colours
    shell    half the thickness that its sheets were given, engine units: how far the surface lies from them
    weight   how much of the edges comes back, 0..1
    """

    def __init__(self, field: ColourField, artist: ArtistColours, sketch: Mesh, shell: float, weight: float = 1.0) -> None:
        super().__init__()
        self.field = field
        self._artist = artist
        self._weight = weight
        self._shell = shell
        points, colours = _samples(sketch)
        self._colours = colours
        self._tree = KDTree(points)
        self._edges = self._edge_cells(points) if len(points) else torch.zeros(CELLS, CELLS, CELLS, dtype=torch.bool)

    @torch.no_grad()
    def forward(self, points: Tensor) -> Tensor:
        """points [N, 3] in engine space, on the surface -> sRGB-encoded [N, 3] in 0..1."""
        colours = self.field(points)
        near = torch.nonzero(self._edges[tuple(_cells(points.cpu()).unbind(1))]).squeeze(1).to(points.device)
        if len(near):
            colours[near] = (colours[near] + self._weight * self._lost_edges(points[near])).clamp(0, 1)
        return colours

    def _lost_edges(self, points: Tensor) -> Tensor:
        """[N, 3]: by how much the artist's colours differ from what the field's grid could show of them, where that is an edge."""
        distance, sample = self._tree.query(points.cpu().numpy(), k=NEIGHBOURS, workers=-1)
        share = 1 / (distance + SOFTENING) ** 2
        drawn = np.einsum("nk,nkd->nd", share / share.sum(axis=1, keepdims=True), self._colours[sample])
        shown, known = self._artist(points)
        lost = torch.from_numpy(drawn.astype(np.float32)).to(points) - shown
        near = 1 - _smoothstep(torch.from_numpy(distance[:, :1].astype(np.float32)).to(points) / self._shell, NEAR, FAR)
        return lost * _smoothstep(lost.abs().amax(dim=1, keepdim=True), EVEN, EDGE) * near * known

    @torch.no_grad()
    def _edge_cells(self, points: np.ndarray) -> Tensor:
        """bool [CELLS]^3 over [-1, 1]^3: cells with a sample whose colour the fitted field does not show, and their neighbours."""
        places = torch.from_numpy(points)
        device = next(self.field.parameters()).device
        shown = torch.cat([self._artist(part.to(device))[0].cpu() for part in places.split(1 << 16)])
        lost = (torch.from_numpy(self._colours) - shown).abs().amax(dim=1) > EVEN
        cells = torch.zeros(1, 1, CELLS, CELLS, CELLS)
        cells[(0, 0, *_cells(places[lost]).unbind(1))] = 1
        return F.max_pool3d(cells, 3, stride=1, padding=1)[0, 0] > 0


Colours = ColourField | CrispColours
"""What tells the colours of a surface."""


def _samples(sketch: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Points float32 [N, 3] on the sketch whose colour is known, and the colours [N, 3]."""
    if sketch.paint is not None:
        points, colours = sketch.paint.points, sketch.paint.colours
    else:
        points, sampled = surface_samples(sketch, SAMPLES)
        colours = np.full_like(points, np.nan) if sampled is None else sampled
    known = np.isfinite(colours).all(axis=1)
    return points[known].astype(np.float32), colours[known].astype(np.float32)


def _cells(points: Tensor) -> Tensor:
    """int64 [N, 3]: the cell of the volume that each point lies in, or the nearest."""
    return ((points + 1) * (CELLS / 2)).long().clamp(0, CELLS - 1)


def _smoothstep(values: Tensor, low: float, high: float) -> Tensor:
    step = ((values - low) / (high - low)).clamp(0, 1)
    return step * step * (3 - 2 * step)
