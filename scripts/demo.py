"""The whole of Sketchbridge in one command: a sketch in Blender becomes a refined, textured model. Options: --help."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the project's folder, where Python has put this one
    from scripts.setup import bootstrap

    bootstrap.ensure_python()
    from scripts.setup import demo

    sys.exit(demo.main())
