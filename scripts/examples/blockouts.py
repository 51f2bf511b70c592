"""Refine the examples without their colours: what the prior alone makes of a plain blockout.

    python -m scripts.examples.blockouts [NAME ...] [--model embedded] [--out out/blockouts]

Each NAME leaves NAME.glb, NAME.json and the contact sheet NAME.png in --out; scripts.examples.gallery puts them into the docs.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import tomllib
from pathlib import Path

from engine.cli import main as sketchbridge
from engine.formats.meshio import load_mesh, save_glb
from scripts import ROOT

EXAMPLES = ROOT / "examples"


def refine_blockout(name: str, prompt: str, model: str, out: Path) -> int:
    """One example, grey, through the command line; its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        blockout = Path(folder) / f"{name}.glb"
        save_glb(blockout, dataclasses.replace(load_mesh(EXAMPLES / f"{name}.glb"), colours=None))
        return sketchbridge(["refine", str(blockout), "--prompt", prompt, "--model", model, "--out", str(out)])


def main() -> int:
    """Run the command; the number of failures."""
    prompts = tomllib.loads((EXAMPLES / "prompts.toml").read_text("utf-8"))
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", default=sorted(prompts), metavar="NAME", help=", ".join(prompts))
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "blockouts")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(prompts))
    if unknown:
        parser.error(f"no example '{unknown[0]}'; there are {', '.join(prompts)}")
    return sum(refine_blockout(name, prompts[name], arguments.model, arguments.out) != 0 for name in arguments.names)


if __name__ == "__main__":
    sys.exit(main())
