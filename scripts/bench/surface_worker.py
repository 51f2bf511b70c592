"""One checkout's surfaces of sketches, for `scripts.bench.surface`. Runs alone, with the checkout's own engine: also one of 74433af.

    PYTHONPATH=CHECKOUT python surface_worker.py SKETCHES.npz SURFACES.npz SETTINGS.json [--fit]

SKETCHES holds v/NAME float32 [V, 3] in engine space and f/NAME int32 [F, 3]; SURFACES gets the same of the surfaces, fitted ones under
fv/NAME and ff/NAME, and under s/NAME the seconds of processor time of signed distance, extraction with its backward, and fit.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch


def field_of(mesh: Any, numbers: Any) -> Any:
    """The sketch's surface as a job makes it. Checkouts before the folder engine/sketch have no function for that."""
    if not Path("engine/job_fields.py").exists():
        from engine.isosurface.dmtet import TetGrid
        from engine.surface import Surface

        sketch_sdf = importlib.import_module("engine.sdf").sketch_sdf
        grid = TetGrid.make(numbers.grid, torch.device("cpu"))
        thickness = max(numbers.thickness, grid.spacing)
        return Surface.from_sdf(grid, torch.from_numpy(sketch_sdf(mesh, grid.points.numpy(), thickness, numbers.closing)))
    from engine.sketch_surface import sketch_surface

    return sketch_surface(mesh, numbers, torch.device("cpu"))


def fitted(surface: Any, mesh: Any, numbers: Any) -> None:
    """The same fit as in a job."""
    from engine.fit import fit_to_sketch
    from engine.render.base import select_rasterizer
    from engine.texture.field import ColourField

    generator = torch.Generator().manual_seed(0)
    fit_to_sketch(surface, ColourField(numbers.colour_grid), mesh, select_rasterizer(torch.device("cpu")), numbers.fit_steps, generator)


def main(sketches: str, surfaces: str, settings: str, fit: bool) -> None:
    from engine.mesh import Mesh

    # by the file, not by trying: an installed checkout lends its modules to one that lacks them
    presets = importlib.import_module("engine.job_fields" if Path("engine/job_fields.py").exists() else "engine.config").PRESETS
    torch.set_num_threads(1)
    known = {field.name for field in fields(presets["draft"])}
    numbers = replace(presets["draft"], **{name: value for name, value in json.loads(settings).items() if name in known})
    given, found = np.load(sketches), {}
    names = [key[2:] for key in given.files if key.startswith("v/")]
    for name in ["warm-up", *names]:  # the first one compiles kernels
        own, drawn = (replace(numbers, grid=32, fit_steps=1), names[0]) if name == "warm-up" else (numbers, name)
        mesh = Mesh(given[f"v/{drawn}"], given[f"f/{drawn}"])
        start = time.process_time()
        surface = field_of(mesh, own)
        seconds = [time.process_time() - start]
        start = time.process_time()
        vertices, faces = surface.extract()
        vertices.square().sum().backward()
        seconds.append(time.process_time() - start)
        found |= {f"v/{name}": vertices.detach().numpy(), f"f/{name}": faces.numpy()}
        if fit:
            start = time.process_time()
            fitted(surface, mesh, own)
            seconds.append(time.process_time() - start)
            vertices, faces = surface.extract()
            found |= {f"fv/{name}": vertices.detach().numpy(), f"ff/{name}": faces.numpy()}
        found[f"s/{name}"] = np.array(seconds)
    found["peak"] = np.array(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    np.savez(surfaces, **found)


if __name__ == "__main__":
    main(*sys.argv[1:4], fit="--fit" in sys.argv[4:])
