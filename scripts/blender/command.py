"""`blender -b FILE --command sketchbridge ...` for the bpy module: the same command, started from Python.

    PYTHON_WITH_BPY -m scripts.blender.command FILE.blend refine|texture --prompt "..." --out FOLDER [...]

Builds the extension from this source, installs it into a user folder that is thrown away, opens the file and runs the command.
Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 cancelled.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.blender.extension import install, leave
from scripts.setup import build_extension


def run(file: Path, arguments: Sequence[str]) -> int:
    """Open a .blend file and run the extension's command on it; its exit code."""
    with tempfile.TemporaryDirectory(prefix="sketchbridge-command-") as scratch:
        os.environ["BLENDER_USER_RESOURCES"] = scratch  # before bpy is imported, and never a user's own
        package = install(build_extension.build(Path(scratch) / "build"))
        import bpy

        try:
            bpy.ops.wm.open_mainfile(filepath=str(file.resolve()))
        except RuntimeError as error:
            print(f"{file} cannot be opened by Blender {bpy.app.version_string}: {error}", file=sys.stderr)
            return 2
        return importlib.import_module(f"{package.__name__}.cli").main(arguments)


def main() -> int:
    """The command line."""
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    return run(Path(sys.argv[1]), sys.argv[2:])


if __name__ == "__main__":
    leave(main())
