"""The extension, built and installed from its zip into a fresh user folder, in the Blender module of this environment."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
_HOME = tempfile.TemporaryDirectory(prefix="sketchbridge-blender-", ignore_cleanup_errors=True)
if "bpy" not in sys.modules:  # the module: it reads this when it is imported
    os.environ["BLENDER_USER_RESOURCES"] = _HOME.name
elif not os.environ.get("BLENDER_USER_RESOURCES"):
    raise RuntimeError("Start Blender with BLENDER_USER_RESOURCES set to a fresh folder: the tests install the extension there.")
REAL_ENGINE = os.environ.pop("SKETCHBRIDGE_ENGINE", "")

import pytest  # noqa: E402

bpy = pytest.importorskip("bpy", reason="needs the Blender module; run in one of the Blender environments")

import helpers  # noqa: E402

PACKAGE = "bl_ext.user_default.sketchbridge"


@pytest.fixture(scope="session")
def archive() -> Path:
    """The extension's zip, built by the script that a user runs."""
    from scripts.setup import build_extension

    return build_extension.build(Path(_HOME.name) / "dist")


@pytest.fixture(scope="session")
def extension(archive: Path) -> ModuleType:
    """The installed and enabled extension's package."""
    bpy.ops.extensions.package_install_files(filepath=str(archive), repo="user_default", enable_on_install=True)
    assert PACKAGE in bpy.context.preferences.addons.keys()  # noqa: SIM118  a collection of Blender's
    return sys.modules[PACKAGE]


@pytest.fixture
def scene(extension: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An empty file, an engine command whose job is tiny but real, and the extension's package. No job may be left running."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SKETCHBRIDGE_ENGINE", shlex.join([sys.executable, "-m", "engine", "--job", "tests.protocol.tiny_job:run_job"]))
    helpers.part(extension, "jobs").last = None
    for record in helpers.part(extension, "job_plan").left():
        helpers.part(extension, "job_plan").forget(record.job)
    bpy.context.scene.sketchbridge.prompt = "a flower"
    yield extension
    jobs = helpers.part(extension, "jobs")
    left_running = jobs.running is not None
    jobs.abandon()
    assert not left_running
    assert helpers.no_preview()
    assert bpy.context.id_data is None, "a scene was left in the context: Blender 4.2 writes to it when it is freed"


@pytest.fixture
def real_engine(scene: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """The command of the real engine in place of the tiny one; skips where there is none."""
    python = ROOT / ".venv" / "engine" / "bin" / "python"
    command = REAL_ENGINE or (shlex.join([str(python), "-m", "engine"]) if python.exists() else "")
    if not command:
        pytest.skip("no engine: set SKETCHBRIDGE_ENGINE or run python3 -m scripts.setup.bootstrap engine")
    monkeypatch.setenv("SKETCHBRIDGE_ENGINE", command)
    return command


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Disable the extension as Blender would at its end."""
    if PACKAGE in sys.modules:
        import addon_utils

        addon_utils.disable(PACKAGE)
    session.config.stash[_STATUS] = int(exitstatus)


_STATUS = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave at once: the module of Blender 4.2 crashes at the interpreter's end after its own glTF exporter ran."""
    if bpy.app.version < (4, 3) and _STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        _HOME.cleanup()
        os._exit(config.stash[_STATUS])
