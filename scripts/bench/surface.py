"""How solid and how true the surface of a sketch is before any prior has seen it, in this checkout and in an older one.

    python -m scripts.bench.surface [--before CHECKOUT] [--grid N] [--fit] [--rounds 1] [--set FIELD=VALUE] [--pictures FILE] [NAME ...]

For the examples, the stroke sketches that the tests draw and solids with a known truth: handles (genus), components, volume, pairs of
faces that cross each other; seconds of processor time of the signed distance, of one extraction with its backward pass, and of the fit;
the fitted surface's handles. Where the truth is known also the mean distance both ways (Chamfer, % of the diagonal), the mean angle
between normals near edges and elsewhere, and by how much faces away from edges are uneven (root mean square, % of the diagonal). Each
checkout works in processes of its own, in turns, and tells its peak memory; a cell holds before and now where there is a before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.conventions import SceneNormalization
from engine.formats.meshio import load_mesh
from engine.mesh import Mesh
from engine.sketch.check import check_sketch
from engine.sketch.soundness import Soundness
from scripts import ROOT
from scripts.bench.surface_pictures import write_pictures
from scripts.bench.surface_truth import GENUS, against_truth, crossings, solids
from tests.engine.stroke_sketches import STROKE_SKETCHES, draw

EXAMPLES = ("flower", "mushroom", "apple", "mug", "chair", "house", "tree", "teapot")
EDGE_GRID = 80
"""Of commit 74433af's draft: near an edge is what lies within two of its steps, where no grid is given."""

HEAD = ("name", "genus (truth)", "parts", "volume", "crossings", "sdf s", "extract s", "fit s", "genus fitted", "faces", "Chamfer %",
        "edges °", "faces °", "uneven %")  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What one checkout made of one sketch, in its rounds: meshes (fitted: None without a fit) and the rounds' median seconds."""

    vertices: np.ndarray
    faces: np.ndarray
    fitted: Mesh | None
    seconds: list[float]

    def cells(self, truth: Mesh | None, spacing: float) -> list[str]:
        """The columns after the name, as text; spacing: of the grid by whose steps is told what is near an edge."""
        solid = Soundness.of(self.vertices, self.faces)
        sdf, extract, *fit = self.seconds
        exact = [str(solid.genus), str(solid.components), f"{solid.volume:.3f}", str(crossings(self.vertices, self.faces))]
        exact += [f"{sdf:.2f}", f"{extract:.3f}", f"{fit[0]:.1f}" if fit else ""]
        exact.append(str(Soundness.of(self.fitted.vertices, self.fitted.faces).genus) if self.fitted else "")
        known = against_truth(self.vertices, self.faces, truth, spacing).values() if truth is not None else [None] * 4
        return [*exact, str(len(self.faces)), *("" if figure is None else f"{figure:.2f}" for figure in known)]


def sketch(name: str) -> Mesh:
    """One of the solids, the tests' stroke sketches or the examples, as a job sees it: checked, in engine space."""
    known = solids()
    mesh = known[name] if name in known else draw(name) if name in STROKE_SKETCHES else load_mesh(ROOT / "examples" / f"{name}.glb")
    mesh, _ = check_sketch(mesh)
    return mesh.with_vertices(SceneNormalization.of_bounds(mesh.vertices).to_engine(mesh.vertices))


def made_by(checkout: Path, sketches: Path, settings: dict[str, object], fit: bool, folder: Path) -> dict[str, np.ndarray]:
    """One round of a checkout's worker."""
    surfaces = folder / "surfaces.npz"
    command = [sys.executable, "-P", str(Path(__file__).with_name("surface_worker.py")), str(sketches), str(surfaces), json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *(["--fit"] if fit else [])], env=environment, cwd=checkout, check=True)
    with np.load(surfaces) as found:
        return dict(found)


def rounds_of(rounds: list[dict[str, np.ndarray]], name: str) -> Found:
    """The last round's meshes of a sketch and the median of all rounds' seconds."""
    last = rounds[-1]
    fitted = Mesh(last[f"fv/{name}"], last[f"ff/{name}"]) if f"fv/{name}" in last else None
    seconds = np.median([found[f"s/{name}"] for found in rounds], axis=0)
    return Found(last[f"v/{name}"], last[f"f/{name}"], fitted, [float(figure) for figure in seconds])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", help="which; all where none is given")
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--grid", type=int, help="cells along each axis; where it is left out, what the draft preset takes")
    parser.add_argument("--fit", action="store_true", help="also the fit to renders of the sketch")
    parser.add_argument("--rounds", type=int, default=1, help="how often each checkout does everything, in turns")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="another number of the draft preset, as JSON")
    parser.add_argument("--pictures", type=Path, help="write the sketches and both surfaces from three sides")
    options = parser.parse_args(arguments)
    grid = {} if options.grid is None else {"grid": options.grid, "grid_faces": 0}
    settings = {**grid, **{field: json.loads(value) for field, value in (given.split("=", 1) for given in options.set)}}
    names = options.names or [*EXAMPLES, *STROKE_SKETCHES, *GENUS]
    sketches = {name: sketch(name) for name in names}
    checkouts = [*([options.before.resolve()] if options.before else []), ROOT]
    rounds: dict[Path, list[dict[str, np.ndarray]]] = {checkout: [] for checkout in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "sketches.npz"
        arrays = {f"v/{name}": mesh.vertices for name, mesh in sketches.items()}
        np.savez(given, **arrays, **{f"f/{name}": mesh.faces for name, mesh in sketches.items()})  # pyright: ignore[reportArgumentType]
        for _ in range(options.rounds):
            for checkout in checkouts:
                rounds[checkout].append(made_by(checkout, given, settings, options.fit, Path(folder)))
    found = {name: [rounds_of(rounds[checkout], name) for checkout in checkouts] for name in names}
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for name, columns in found.items():
        truth = sketches[name] if name in GENUS else None
        cells = [column.cells(truth, 2 / (options.grid or EDGE_GRID)) for column in columns]
        genus, *rest = (" → ".join(cell) for cell in zip(*cells, strict=True))
        genus += f" ({GENUS[name]})" if name in GENUS else ""
        print("| " + " | ".join([name, genus, *(cell if cell.strip(" →") else "" for cell in rest)]) + " |", flush=True)
    peak = " → ".join(f"{max(float(one['peak']) for one in rounds[checkout]):.2f}" for checkout in checkouts)
    print(f"\npeak memory {peak} GiB, grid {options.grid or 'as in the preset'}")
    if options.pictures:
        write_pictures(
            options.pictures, {name: [sketches[name], *(Mesh(one.vertices, one.faces) for one in found[name])] for name in names}
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
