"""Builds dist/sketchbridge-VERSION.zip, the extension that Blender installs. Deterministic: the same source, the same bytes.

The zip holds the manifest, the licence and the add-on's files at its root; what addon/ shares with the engine is a
link in the source tree and the file itself in the zip. The engine's source with its embedded priors and pinned requirements is in
engine_source/, from where Install Engine takes it. `--repository` writes beside it the index.json that makes the folder a repository
which Blender can subscribe to, by Blender's own tool.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from engine.formats.files import replacing
from engine.setup_commands import SetupError
from scripts import ROOT
from scripts.setup.blenders import find_blender, why_none

_EPOCH = (1980, 1, 1, 0, 0, 0)
_STORED = (".safetensors", ".png", ".jpg")
"""Nothing is gained by compressing these."""
_ENGINE_SUFFIXES = (".py", ".json", ".safetensors", ".txt", ".pt", ".npz")


def build(folder: Path) -> Path:
    """Write the zip into `folder` and return its path; an existing one is replaced in one step."""
    version = tomllib.loads((ROOT / "blender_manifest.toml").read_text())["version"]
    files = {"blender_manifest.toml": ROOT / "blender_manifest.toml", "LICENSE": ROOT / "LICENSE"}
    files |= {path.name: path.resolve() for path in sorted((ROOT / "addon").iterdir()) if path.suffix in (".py", ".json")}
    files |= {f"engine_source/{path.relative_to(ROOT).as_posix()}": path for path in _engine_files()}
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"sketchbridge-{version}.zip"
    with replacing(target) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        for name, path in files.items():
            _put(archive, name, path.read_bytes())
        described = f"Metadata-Version: 2.1\nName: sketchbridge\nVersion: {version}\n"
        _put(archive, f"engine_source/sketchbridge-{version}.dist-info/METADATA", described.encode())
    return target


def _engine_files() -> list[Path]:
    """What the engine needs to run, and its pins."""
    inside = (path for path in (ROOT / "engine").rglob("*") if "__pycache__" not in path.parts)
    pins = [ROOT / "requirements" / name for name in ("engine.txt", "torch.txt")]
    return sorted([*(path for path in inside if path.suffix in _ENGINE_SUFFIXES and path.is_file()), *pins])


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(_STORED) else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def make_repository(folder: Path, tool: Sequence[str] = ()) -> Path:
    """Write index.json for the extensions in `folder`, by the `tool` that Blender brings, else one that is found. SetupError otherwise."""
    done = subprocess.run([*(tool or _server_tool()), f"--repo-dir={folder}"], capture_output=True, text=True, timeout=300)
    index = folder / "index.json"
    if done.returncode != 0 or not index.exists():
        raise SetupError(f"Blender's tool made no index: {(done.stdout + done.stderr).strip()[-500:]}", "Correct what it names.")
    return index


def _server_tool() -> list[str]:
    """Blender's `server-generate`: of a module's environment, or of an executable. SetupError where there is no Blender."""
    blender = find_blender()
    if blender is None:
        raise SetupError(why_none(), "Or build without --repository.")
    if blender.environment is None:
        return [blender.executable, "--command", "extension", "server-generate"]
    tools = blender.environment.folder.glob("lib/python*/site-packages/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
    tool = next(iter(tools), None)
    if tool is None:
        raise SetupError(f"The environment {blender.environment.name} is not set up.", "Run python3 scripts/test.py --setup-only.")
    return [str(blender.environment.python), str(tool), "server-generate"]


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the paths of what it wrote."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the zip (default: dist)")
    parser.add_argument("--repository", action="store_true", help="make the folder a repository with index.json, by Blender's own tool")
    options = parser.parse_args(arguments)
    print(build(options.out))
    if options.repository:
        try:
            print(make_repository(options.out))
        except SetupError as error:
            print(f"{error.message}\nFix: {error.fix}", file=sys.stderr)
            return 1
    return 0
