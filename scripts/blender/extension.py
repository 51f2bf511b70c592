"""Installs the built extension into the Blender module that runs this, and leaves that module safely."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

EXTENSION = "bl_ext.user_default.sketchbridge"


def install(archive: Path) -> ModuleType:
    """Install and enable the extension's zip as a user would; returns its package.

    Never touches a user's own Blender: RuntimeError unless BLENDER_USER_RESOURCES names another place. RuntimeError too where the
    extension does not come up.
    """
    if not os.environ.get("BLENDER_USER_RESOURCES"):
        raise RuntimeError("Set BLENDER_USER_RESOURCES to a fresh folder first, so that nobody's own Blender is changed.")
    import bpy  # before addon_utils, which comes with it

    addon_utils = importlib.import_module("addon_utils")
    bpy.ops.extensions.package_install_files(filepath=str(archive), repo="user_default", enable_on_install=True)
    _, enabled = addon_utils.check(EXTENSION)
    if not enabled:
        raise RuntimeError(f"Blender {bpy.app.version_string} installed {archive.name} but did not enable it; its output tells why.")
    return importlib.import_module(EXTENSION)


def leave(status: int) -> NoReturn:
    """End the process at once. Taking the module apart as Python's own end does crashes Blender 4.2 after a glTF export."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
