"""How threads share an image: a run of pixels of one row each. A GPU takes runs of one pixel, a CPU whole rows.

Warp derives each thread's position by integer divisions, which on a CPU cost more than a background pixel's work.
"""

from __future__ import annotations

import warp as wp


@wp.func
def locate_run(chunk: int, run: int, height: int, width: int):
    """(view, row, first column) of a chunk; rows are cut into ceil(width / run) chunks."""
    chunks = (width + run - 1) / run
    line = chunk / chunks
    view = line / height
    return view, line - view * height, (chunk - line * chunks) * run
