"""Beside pairs that scripts.prior.data.make_pairs rendered: controls and repainted pictures (run by the engine's Python).

    python -m scripts.prior.data.make_buffers FOLDER [--watch]

With --watch it waits for new pairs until it is ended. Starting it again goes on where it was. See scripts/prior/data/buffers.py.
"""

from __future__ import annotations

import argparse
import time
from itertools import groupby
from pathlib import Path

import torch

from engine.errors import SketchbridgeError
from scripts.prior.data.buffers import make_buffers
from scripts.prior.data.kinds import KINDS
from scripts.prior.data.pairs import read_pairs

REPORT_EVERY = 20
WAIT_SECONDS = 20


def complete(folder: Path, refused: set[str], kinds: set[str]) -> int:
    """Make what is missing in a folder, of these kinds; how many were made. Subjects without a surface go into `refused`."""
    started, made = time.monotonic(), 0
    for name, group in groupby(read_pairs(folder), key=lambda pair: pair.subject):
        pairs = list(group)
        if pairs[0].kind not in kinds or name in refused or (folder / f"{name}.buffers.npz").exists():
            continue
        try:
            make_buffers(name, pairs, folder)
        except SketchbridgeError as error:
            refused.add(name)
            print(f"{name}: {error}", flush=True)
            continue
        made += 1
        if made % REPORT_EVERY == 0:
            print(f"{made} subjects, {(time.monotonic() - started) / made:.2f} s each", flush=True)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--watch", action="store_true", help="wait for more pairs")
    parser.add_argument("--kinds", default=",".join(KINDS), help="names with commas")
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(1)
    refused: set[str] = set()
    while complete(parsed.folder, refused, set(parsed.kinds.split(","))) or parsed.watch:
        time.sleep(WAIT_SECONDS if parsed.watch else 0)


if __name__ == "__main__":
    main()
