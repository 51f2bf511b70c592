"""The first look at what the user gave: refuse what cannot be used, mend what can, and say what was mended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.errors import InputError
from engine.mesh import Mesh, Paint
from engine.sketch.strokes import face_areas

LARGEST = 1e7
"""Coordinates beyond this have less than a unit of precision in single precision, and come from a broken transform."""

SMALLEST = 1e-6
"""A longest side below this (a thousandth of a millimetre) is a collapsed scale."""

COARSEST = 2e-5
"""Least extent relative to the largest coordinate: below it single precision cannot tell the sketch's parts apart."""


def check_sketch(mesh: Mesh) -> tuple[Mesh, list[str]]:
    """A mesh that the engine can work with, and one line for each thing that was mended.

    Vertices at the same place are merged (if their colours agree), faces without area and faces drawn twice are dropped, and so are
    vertices that no face uses. Order is otherwise kept. Raises InputError, with the fix, for a mesh without faces, with coordinates that
    are not finite, too far out, or too small, and for one whose faces have no area.
    """
    _refuse_nothing(mesh.checked())
    mended: list[str] = []
    mesh = _without_loose_vertices(mesh, mended)
    _refuse_coordinates(mesh)
    mesh = _usable_paint(_finite_colours(mesh, mended), mended)
    mesh = _merged(mesh, mended)
    _refuse_scale(mesh)
    mesh = _without_loose_vertices(_without_bad_faces(mesh, mended), [])
    return mesh, mended


def _refuse_nothing(mesh: Mesh) -> None:
    """InputError where there are no faces."""
    if len(mesh.vertices) == 0 or len(mesh.faces) == 0:
        raise InputError(
            "sketch_empty",
            f"The sketch needs faces; got {len(mesh.vertices)} vertices and {len(mesh.faces)} faces.",
            "Select an object that has faces; give curves a bevel or convert them to a mesh.",
        )


def _refuse_coordinates(mesh: Mesh) -> None:
    """InputError where vertices are nowhere, or so far out that their coordinates have lost their precision."""
    bad = np.flatnonzero(~np.isfinite(mesh.vertices).all(axis=1))
    if len(bad):
        raise InputError(
            "sketch_not_finite",
            f"Coordinates must be finite numbers; got {mesh.vertices[bad[0]].tolist()} at vertex {bad[0]} and {len(bad)} such vertices.",
            "Look for modifiers or drivers that give NaN or infinity, or delete those vertices (Mesh > Clean Up).",
        )
    furthest = float(np.abs(mesh.vertices).max())
    if furthest > LARGEST:
        raise InputError(
            "sketch_too_far",
            f"Coordinates must be within {LARGEST:g} units of the origin; the furthest is at {furthest:g}.",
            "Scale the object down or move it to the origin, then apply the scale (Object > Apply).",
        )


def _refuse_scale(mesh: Mesh) -> None:
    """InputError where the sketch is too small for its place, in itself or beside its distance from the origin."""
    extent = float(np.ptp(mesh.vertices.astype(np.float64), axis=0).max())
    if extent < SMALLEST:
        raise InputError(
            "sketch_too_small",
            f"The longest side must be at least {SMALLEST:g} units; it is {extent:g}.",
            "Scale the object up and apply the scale (Object > Apply > Scale).",
        )
    furthest = float(np.abs(mesh.vertices).max())
    if extent < COARSEST * furthest:
        raise InputError(
            "sketch_imprecise",
            f"At {furthest:g} units from the origin the sketch must be at least {COARSEST * furthest:g} units long to be told apart in"
            f" single precision; it is {extent:g}.",
            "Move the object nearer to the origin.",
        )


def _finite_colours(mesh: Mesh, mended: list[str]) -> Mesh:
    if mesh.colours is None:
        return mesh
    unknown = np.isnan(mesh.colours).all(axis=1)
    bad = np.asarray(~np.isfinite(mesh.colours).all(axis=1) & ~unknown)
    outside = int((((mesh.colours < 0) | (mesh.colours > 1)).any(axis=1) & ~bad).sum())
    if not bad.any() and not outside:
        return mesh
    if bad.any():
        mended.append(f"{int(bad.sum())} colours that are no numbers are taken as unknown.")
    if outside:
        mended.append(f"{outside} colours outside of 0..1 were clipped.")
    colours = np.where(bad[:, None], np.float32(np.nan), mesh.colours).clip(0, 1)
    return replace(mesh, colours=colours.astype(np.float32))


def _usable_paint(mesh: Mesh, mended: list[str]) -> Mesh:
    """With paint at finite places and of colours in 0..1 only."""
    if mesh.paint is None:
        return mesh
    points, colours = mesh.paint.points, mesh.paint.colours
    placed = np.asarray(np.isfinite(points).all(axis=1))
    if not placed.all():
        mended.append(f"{int((~placed).sum())} painted points that are nowhere were dropped.")
    if not placed.any():
        return replace(mesh, paint=None)
    colours = np.where(np.isfinite(colours[placed]).all(axis=1, keepdims=True), colours[placed].clip(0, 1), np.float32(np.nan))
    return replace(mesh, paint=Paint(points[placed], colours.astype(np.float32)))


def _merged(mesh: Mesh, mended: list[str]) -> Mesh:
    """One vertex where several of the same colour lie at the same place."""
    key = mesh.vertices + np.float32(0)  # -0 is 0
    if mesh.colours is not None:
        key = np.concatenate([key, np.where(np.isnan(mesh.colours), np.float32(-1), mesh.colours)], axis=1)
    _, first, own = np.unique(key, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(mesh.vertices):
        return mesh
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    keep = first[order]
    mended.append(f"{len(mesh.vertices) - len(keep)} duplicate vertices were merged.")
    faces = rank[own.reshape(-1)][mesh.faces].astype(np.int32)
    return replace(mesh, vertices=mesh.vertices[keep], faces=faces, colours=None if mesh.colours is None else mesh.colours[keep])


def _without_bad_faces(mesh: Mesh, mended: list[str]) -> Mesh:
    """Without faces that have no area, and of faces on the same vertices the first only."""
    points = mesh.vertices.astype(np.float64)
    size = np.ptp(points, axis=0).max()
    flat = face_areas(points, mesh.faces.astype(np.int64)) <= 1e-14 * size**2
    if flat.all():
        raise InputError(
            "sketch_no_area",
            f"The sketch needs at least one face with an area; got {len(flat)} faces and none has one.",
            "Check that the object is not scaled to zero along an axis and that its vertices do not coincide.",
        )
    _, first = np.unique(np.sort(mesh.faces, axis=1), axis=0, return_index=True)
    again = np.ones(len(flat), dtype=bool)
    again[first] = False
    again &= ~flat
    if flat.any():
        mended.append(f"{int(flat.sum())} faces without area were dropped.")
    if again.any():
        mended.append(f"{int(again.sum())} faces that were drawn twice were dropped.")
    if not (flat | again).any():
        return mesh
    return mesh.of_faces(~(flat | again))


def _without_loose_vertices(mesh: Mesh, mended: list[str]) -> Mesh:
    used = np.zeros(len(mesh.vertices), dtype=bool)
    used[mesh.faces.reshape(-1)] = True
    if used.all():
        return mesh
    mended.append(f"{int((~used).sum())} vertices that belong to no face were dropped.")
    number = (np.cumsum(used) - 1).astype(np.int32)
    return replace(
        mesh, vertices=mesh.vertices[used], faces=number[mesh.faces], colours=None if mesh.colours is None else mesh.colours[used]
    )
