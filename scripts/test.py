"""Sets up and runs every test, in the engine's environment and inside each Blender. Options: --help."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the project's folder, where Python has put this one
    from scripts.setup import bootstrap, run_tests

    bootstrap.ensure_python()
    sys.exit(run_tests.main())
