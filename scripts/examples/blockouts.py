"""Refine the examples without their colours: what the prior alone makes of a plain blockout.

    python -m scripts.examples.blockouts [NAME ...] [--out out/blockouts] [--suffix TEXT] [options of sketchbridge refine]

Each NAME leaves NAME.glb, NAME.json and the contact sheet NAME.png in --out, with the suffix after NAME.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from engine.cli import main as sketchbridge
from engine.formats.meshio import load_mesh, save_glb
from scripts import ROOT

EXAMPLES = ROOT / "examples"


def refine_blockout(name: str, prompt: str, out: Path, suffix: str = "", options: Sequence[str] = ()) -> int:
    """One example, grey, through the command line; its exit code. `options` of refine come last, so they count."""
    with tempfile.TemporaryDirectory() as folder:
        blockout = Path(folder) / f"{name}{suffix}.glb"
        save_glb(blockout, dataclasses.replace(load_mesh(EXAMPLES / f"{name}.glb"), colours=None))
        return sketchbridge(["refine", str(blockout), "--prompt", prompt, "--out", str(out), *options])


def main() -> int:
    """Run the command; the number of failures."""
    prompts = tomllib.loads((EXAMPLES / "prompts.toml").read_text("utf-8"))
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", default=sorted(prompts), metavar="NAME", help=", ".join(prompts))
    parser.add_argument("--suffix", default="", help="of the results' names")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "blockouts")
    arguments, options = parser.parse_known_args()
    unknown = sorted(set(arguments.names) - set(prompts))
    if unknown:
        parser.error(f"no example '{unknown[0]}'; there are {', '.join(prompts)}")
    return sum(refine_blockout(name, prompts[name], arguments.out, arguments.suffix, options) != 0 for name in arguments.names)


if __name__ == "__main__":
    sys.exit(main())
