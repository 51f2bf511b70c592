"""A process of its own for xatlas: `python -m engine.texture.unwrap_worker SECONDS IN.npz OUT.npz`. numpy and xatlas only.

xatlas cannot be interrupted and holds the interpreter's lock for all its running time; here it can be killed, and a watchdog
that needs no lock ends the process should whoever started it be gone.
"""

from __future__ import annotations

import faulthandler
import os
import sys

import numpy as np


def unwrap_chunks(vertices: np.ndarray, faces: np.ndarray, chunk: np.ndarray, resolution: int, padding: int) -> np.ndarray:
    """uvs float32 [F, 3, 2] in 0..1 of vertices [V, 3], faces [F, 3]; faces of one chunk [F] are cut into charts together."""
    import xatlas

    atlas = xatlas.Atlas()
    members = [np.flatnonzero(chunk == index) for index in range(int(chunk.max()) + 1)]
    for member in members:
        used, local = np.unique(faces[member], return_inverse=True)
        atlas.add_mesh(np.ascontiguousarray(vertices[used], dtype=np.float32), np.ascontiguousarray(local.reshape(-1, 3), dtype=np.uint32))
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


def main() -> None:
    seconds, source, target = float(sys.argv[1]), sys.argv[2], sys.argv[3]
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        data = np.load(source)
        uvs = unwrap_chunks(data["vertices"], data["faces"], data["chunk"], int(data["resolution"]), int(data["padding"]))
        np.save(target, uvs)
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
