"""Refine or texture every sketch of a folder, one after another. Options: --help."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the project's folder, where Python has put this one
    from scripts.setup import bootstrap

    bootstrap.ensure_python()
    from scripts.setup import convert_folder

    sys.exit(convert_folder.main())
