"""Build dist/sketchbridge-VERSION.zip, the extension that Blender installs. Options: --help."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the project's folder, where Python has put this one
    from scripts.setup import build_extension

    sys.exit(build_extension.main())
