"""What works on this machine's GPU, in one command that installs nothing; writes docs/gpu.md's tables. Options: --help."""

import importlib.util
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    sys.path[0] = str(root)  # the project's folder, where Python has put this one
    own = [root / ".venv" / "engine" / part for part in ("bin/python", "Scripts/python.exe")]
    found = [path for path in own if path.is_file() and Path(sys.prefix) != path.parent.parent]
    if importlib.util.find_spec("torch") is None and found:
        os.execv(found[0], [str(found[0]), *sys.argv])
    if importlib.util.find_spec("torch") is None:
        sys.exit("This Python has no torch. Run it with the engine's, or make one: python3 scripts/test.py --setup-only")
    from scripts.bench.gpu import check

    sys.exit(check.main())
