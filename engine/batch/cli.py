"""`sketchbridge batch`: arguments in. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
from pathlib import Path

from engine.errors import InputError
from engine.lifeline import end_with_parent

MAKE_VARIABLE = "SKETCHBRIDGE_BATCH_MAKE"
"""Tests and benches put a function of theirs ("module:function") in the place of the one that makes an item."""

ENDS_VARIABLE = "SKETCHBRIDGE_ENDS_WITH_PARENT"
"""Set where the batch is the child of a Blender and must not outlive it (addon/conversion.py)."""


def add_command(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    """Adds the command to the command line."""
    parser = subparsers.add_parser("batch", help="many sketches from a job file, on this machine or a cluster")
    parser.add_argument("jobs", type=Path, help="the job file (.toml), see docs/batch.md")
    parser.add_argument("--out", required=True, help="folder for the results, or a URL such as s3://BUCKET/PATH")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="NUMBER",
        help="processes that work at a time; default: a GPU each, else a core each as memory allows",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="NUMBER",
        help="cores that an item is computed on; the result's last bits depend on it; default: 1, with GPUs an equal share",
    )
    parser.add_argument("--resume", action="store_true", help="leave out what is done, and go on with what is half done")
    parser.add_argument("--fresh", action="store_true", help="make again what is done")
    parser.add_argument("--items", metavar="FIRST-LAST", help="only these items, by their place in the job file: for farms")
    parser.add_argument("--ray", metavar="ADDRESS", help="work on this Ray cluster (HOST:PORT, ray://HOST:PORT or auto)")
    parser.add_argument(
        "--blender", help="command that starts Blender with the extension: for .blend and .fbx, and the outputs blend and usd"
    )
    parser.add_argument("--check", action="store_true", help="only check the job file and its inputs")
    parser.add_argument("--report", action="store_true", help="only write the gallery again")
    parser.set_defaults(run=run_batch)


def run_batch(arguments: argparse.Namespace) -> int:
    """The command; its exit code."""
    from engine.batch.run import Batch, Options
    from engine.batch.work import MAKE

    if os.environ.pop(ENDS_VARIABLE, ""):
        end_with_parent()
    for name in ("workers", "threads"):
        if (number := getattr(arguments, name)) is not None and number < 1:
            raise InputError("bad_setting", f"--{name} must be a number from 1, got {number}.", "Give such a number or leave it out.")
    if not arguments.out.strip():
        raise InputError("bad_setting", "--out is empty.", "Name a folder or a URL.")
    if arguments.resume and arguments.fresh:
        raise InputError("bad_setting", "--resume and --fresh exclude each other.", "Choose one of them.")
    options = Options(
        arguments.jobs, arguments.out, arguments.workers, arguments.threads, arguments.resume, arguments.fresh, _numbers(arguments.items),
        arguments.ray, _words(arguments.blender), arguments.check, arguments.report, os.environ.get(MAKE_VARIABLE, MAKE),
    )  # fmt: skip
    return Batch(options).run()


def _words(command: str | None) -> tuple[str, ...] | None:
    """A command line as words; a path of a program, spaces and back slashes in it, is one."""
    if not command or shutil.which(command):
        return (command,) if command else None
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise InputError("bad_setting", f"--blender cannot be read: {error}.", "Put quotes around words with spaces, in pairs.") from error


def _numbers(text: str | None) -> tuple[int, int] | None:
    """ "3-7" or "3" -> first and last. InputError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last:
        raise InputError("bad_setting", f"--items must be FIRST-LAST, counted from 1, got '{text}'.", "Write for example --items 1-10.")
    return first, last
