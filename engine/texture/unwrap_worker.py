"""What xatlas does, for `engine.apart`: numpy and xatlas only."""

from __future__ import annotations

import numpy as np

from engine.reporting import OnStep

CHUNK_TEXELS = 1024
"""Side of the square that one chunk's charts are first packed into: what xatlas rounds to whole texels is then below a thousandth."""


def unwrap_apart(inputs: dict[str, np.ndarray], on_step: OnStep) -> dict[str, np.ndarray]:
    """`engine.apart`: {"uvs"} of vertices, faces, chunk, resolution, padding."""
    resolution, padding = int(inputs["resolution"]), int(inputs["padding"])
    return {"uvs": unwrap_chunks(inputs["vertices"], inputs["faces"], inputs["chunk"], resolution, padding, on_step)}


def unwrap_chunks(vertices: np.ndarray, faces: np.ndarray, chunk: np.ndarray, resolution: int, padding: int, on_step: OnStep) -> np.ndarray:
    """uvs float32 [F, 3, 2] in 0..1 of vertices [V, 3], faces [F, 3]; faces of one chunk [F] are cut into charts together.

    Several chunks are cut one after another, all to one scale, and their charts packed in the end, which is the last step of `on_step`.
    """
    import xatlas

    members = [np.flatnonzero(chunk == index) for index in range(int(chunk.max()) + 1)]
    atlas = xatlas.Atlas()
    per_unit = _texels_per_unit(vertices, faces, len(members))
    for done, member in enumerate(members):
        used, local = np.unique(faces[member], return_inverse=True)
        points, triangles = np.ascontiguousarray(vertices[used], dtype=np.float32), local.reshape(-1, 3).astype(np.uint32)
        if len(members) == 1:
            atlas.add_mesh(points, triangles)
        else:
            on_step(done, len(members) + 1)
            atlas.add_uv_mesh(*_charts(points, triangles, per_unit))
    on_step(len(members), len(members) + 1)
    packing = xatlas.PackOptions()
    packing.resolution = resolution
    packing.padding = padding
    packing.bilinear = True
    packing.rotate_charts_to_axis = True
    atlas.generate(pack_options=packing)
    uvs = np.zeros((len(faces), 3, 2), dtype=np.float32)
    side = max(atlas.width, atlas.height, 1)
    for index, member in enumerate(members):
        _, corners, coordinates = atlas.get_mesh(index)
        # xatlas scales u by the atlas' width and v by its height; one scale for both keeps charts and padding square
        uvs[member] = (np.asarray(coordinates) * [atlas.width / side, atlas.height / side])[np.asarray(corners)]
    margin = padding / 2 / resolution  # the texture wraps: opposite borders are neighbours
    return margin + uvs * np.float32(1 - 2 * margin)


def _texels_per_unit(vertices: np.ndarray, faces: np.ndarray, chunks: int) -> float:
    """At which an average chunk fills a square of CHUNK_TEXELS."""
    a, b, c = vertices[faces].astype(np.float64).transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    return float(CHUNK_TEXELS / np.sqrt(max(area / chunks, 1e-30)))


def _charts(points: np.ndarray, triangles: np.ndarray, per_unit: float) -> tuple[np.ndarray, np.ndarray]:
    """One chunk's charts, laid beside each other: uvs float32 [N, 2] in texels, and each face's corners in them uint32 [F, 3]."""
    import xatlas

    atlas, packing = xatlas.Atlas(), xatlas.PackOptions()
    packing.texels_per_unit = per_unit
    packing.padding = 1
    atlas.add_mesh(points, triangles)
    atlas.generate(pack_options=packing)
    _, corners, coordinates = atlas.get_mesh(0)
    uvs = np.asarray(coordinates) * [atlas.width, atlas.height]
    return np.ascontiguousarray(uvs, dtype=np.float32), np.ascontiguousarray(corners, dtype=np.uint32)
