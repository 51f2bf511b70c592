"""`blender -b FILE --command sketchbridge ...` for the bpy module: the same command, started from Python.

    PYTHON_WITH_BPY -m scripts.blender.command -b FILE.blend --command sketchbridge refine|texture --prompt "..." --out FOLDER [...]

Builds the extension from this source, installs it into a user folder that is thrown away, opens the file, if one is named, and runs the
command.
Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 cancelled.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.blender.extension import install, leave
from scripts.setup import build_extension


def run(file: Path | None, arguments: Sequence[str]) -> int:
    """Open a .blend file, if there is one, and run the extension's command; its exit code."""
    with tempfile.TemporaryDirectory(prefix="sketchbridge-command-") as scratch:
        os.environ["BLENDER_USER_RESOURCES"] = scratch  # before bpy is imported, and never a user's own
        package = install(build_extension.build(Path(scratch) / "build"))
        import bpy

        try:
            if file is not None:
                bpy.ops.wm.open_mainfile(filepath=str(file.resolve()))
        except RuntimeError as error:
            print(f"{file} cannot be opened by Blender {bpy.app.version_string}: {error}", file=sys.stderr)
            return 2
        return importlib.import_module(f"{package.__name__}.cli").main(arguments)


def main() -> int:
    """The command line."""
    words = sys.argv[1:]
    cut = words.index("--command") if "--command" in words else -1
    before, after = words[:cut], words[cut + 2 :]
    if cut < 0 or not after or before[:1] != ["-b"] or len(before) > 2:
        print(__doc__, file=sys.stderr)
        return 2
    if after[0] == "batch" and "--blender" not in after:  # which comes back here
        after += ["--blender", shlex.join([sys.executable, "-m", "scripts.blender.command"])]
    return run(Path(before[1]) if len(before) > 1 else None, after)


if __name__ == "__main__":
    leave(main())
