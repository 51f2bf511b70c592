"""Attacks on the engine, counted; the table of docs/reliability.md.

    python -m scripts.bench.reliability [kills conversations damage disk models meshes soak cancel] [--share 1]

Each attack runs in a process of its own, and each of its rows is told as soon as it is known. Ends with 1 where something was not
survived. Frames in-process: scripts.bench.fuzz_protocol.
"""

from __future__ import annotations

import argparse
import os
import sys

from scripts.bench.reliability.tiny import rows_of

ATTACKS = ("kills", "conversations", "damage", "disk", "models", "meshes", "soak", "cancel")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"of {', '.join(ATTACKS)}; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of tries (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other moments, bits and frames (default: %(default)s)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print("| what | tried | survived | remark |", "|---|---|---|---|", sep="\n", flush=True)
    failed = False
    for name in options.attacks or ATTACKS:
        for row in rows_of(name, options.share, options.seed):
            print(row, flush=True)
            for fault in row.faults[:10]:
                print(f"{name}: {fault}", file=sys.stderr, flush=True)
            failed = failed or bool(row.faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
