"""The zip: valid by Blender's own tool, deterministic, self-contained, and it comes and goes without a trace."""

from __future__ import annotations

import json
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
        for name in ("protocol.py", "messages.py", "stages.py", "errors.py", "fields.py", "job_fields.py", "words.py"):
            assert opened.read(name) == (ROOT / "engine" / name).read_bytes()
            assert not stat.S_ISLNK(opened.getinfo(name).external_attr >> 16)
        assert {"blender_manifest.toml", "__init__.py", "LICENSE"} <= set(opened.namelist())
    assert build_extension.build(tmp_path).read_bytes() == archive.read_bytes()


def test_the_zip_brings_the_engine_and_its_pins_without_what_only_tests_need(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        names = set(opened.namelist())
        assert opened.read("engine_source/engine/job.py") == (ROOT / "engine" / "job.py").read_bytes()
        assert b"diffusers==" in opened.read("engine_source/requirements/engine.txt")
    assert {"engine_source/requirements/torch.txt", "engine_source/engine/diffusion/embedded/surface/kinds.json"} <= names
    weights = {path.relative_to(ROOT).as_posix() for path in (ROOT / "engine").rglob("*.safetensors")}
    assert weights and {f"engine_source/{name}" for name in weights} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".jpg", "engine-dev.txt"))]


def test_a_folder_becomes_a_repository_that_blender_subscribes_to(archive: Path, tmp_path: Path) -> None:
    """By Blender's own tool: the index is made, read as a remote one, and the extension installed from it."""
    folder, local = tmp_path / "repository", tmp_path / "local"
    folder.mkdir()
    local.mkdir()
    (folder / archive.name).write_bytes(archive.read_bytes())
    tool = [sys.executable, str(blender_extension_tool())]
    index = build_extension.make_repository(folder, [*tool, "server-generate"])
    (entry,) = json.loads(index.read_text())["data"]
    assert entry["id"] == "sketchbridge" and entry["archive_url"] == f"./{archive.name}" and "network" in entry["permissions"]
    remote = ["--local-dir", str(local), "--remote-url", index.as_uri()]
    for command in ("sync", "install"):
        more = ["--blender-version", "4.2.0", "sketchbridge"] if command == "install" else []
        done = subprocess.run([*tool, command, *remote, *more], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (local / "sketchbridge" / "blender_manifest.toml").exists()


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
