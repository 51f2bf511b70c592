"""The zip: valid by Blender's own tool, deterministic, self-contained, and it comes and goes without a trace."""

from __future__ import annotations

import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import addon_utils
import bpy
import helpers

from scripts.setup import build_extension

ROOT = Path(__file__).resolve().parents[2]


def blender_extension_tool() -> Path:
    return Path(bpy.utils.system_resource("SCRIPTS")) / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"


def test_the_manifest_and_the_zip_are_valid_by_blenders_own_tool(archive: Path) -> None:
    answer = subprocess.run(
        [sys.executable, blender_extension_tool(), "validate", archive], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "warning" not in (answer.stdout + answer.stderr).lower()


def test_the_zip_holds_what_both_sides_share_as_real_files_and_the_same_bytes_every_time(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for name in ("protocol.py", "errors.py", "fields.py", "job_fields.py", "words.py"):
            assert opened.read(name) == (ROOT / "engine" / name).read_bytes()
            assert not stat.S_ISLNK(opened.getinfo(name).external_attr >> 16)
        assert {"blender_manifest.toml", "__init__.py", "LICENSE"} <= set(opened.namelist())
    assert build_extension.build(tmp_path).read_bytes() == archive.read_bytes()


def test_the_extension_loads_neither_torch_nor_the_engine(extension: ModuleType) -> None:
    loaded = {name.split(".")[0] for name in sys.modules}
    assert "torch" not in loaded and "diffusers" not in loaded
    for name, module in list(sys.modules.items()):
        if name.startswith(helpers.PACKAGE):
            used = {getattr(value, "__module__", "") or "" for value in vars(module).values()}
            assert not {entry for entry in used if entry.split(".")[0] == "engine"}, name


def test_disabled_it_is_gone_and_can_come_again(extension: ModuleType) -> None:
    assert hasattr(bpy.types, "SKETCHBRIDGE_OT_refine") and hasattr(bpy.types.Scene, "sketchbridge")
    addon_utils.disable(helpers.PACKAGE)
    assert not hasattr(bpy.types, "SKETCHBRIDGE_OT_refine") and not hasattr(bpy.types.Scene, "sketchbridge")
    assert not [handler for handler in bpy.app.handlers.load_post if helpers.PACKAGE in handler.__module__]
    assert addon_utils.enable(helpers.PACKAGE) is not None
    assert hasattr(bpy.types, "SKETCHBRIDGE_OT_refine") and hasattr(bpy.types.Scene, "sketchbridge")
