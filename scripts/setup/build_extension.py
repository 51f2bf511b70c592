"""Builds dist/sketchbridge-VERSION.zip, the extension that Blender installs. Deterministic: the same source, the same bytes.

The zip holds the manifest, the licence and the add-on's files at its root; what addon/ shares with the engine is a
link in the source tree and the file itself in the zip. Usage: python scripts/build_extension.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import tomllib
import zipfile
from pathlib import Path

from engine.formats.files import replacing
from scripts import ROOT

_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(folder: Path) -> Path:
    """Write the zip into `folder` and return its path; an existing one is replaced in one step."""
    version = tomllib.loads((ROOT / "blender_manifest.toml").read_text())["version"]
    files = {"blender_manifest.toml": ROOT / "blender_manifest.toml", "LICENSE": ROOT / "LICENSE"}
    files |= {path.name: path.resolve() for path in sorted((ROOT / "addon").iterdir()) if path.suffix in (".py", ".json")}
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"sketchbridge-{version}.zip"
    with replacing(target) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return target


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the zip's path."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the zip (default: dist)")
    print(build(parser.parse_args(arguments).out))
    return 0
