"""Every Warp kernel compiles for the cards that artists have; Warp's own compiler needs neither a GPU nor a driver for it."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import engine.render.kernels
from engine.render.warp_runtime import load_warp

MODULES = [f"engine.render.kernels.{found.name}" for found in pkgutil.iter_modules(engine.render.kernels.__path__)]
MODULES += [
    "engine.texture.field_kernels",
    "engine.sketch.triangles_kernel",
    "engine.sketch.together_kernel",
    "engine.isosurface.membrane_kernel",
]


@pytest.mark.slow
@pytest.mark.parametrize("arch", [75, 86, 90])
def test_all_kernels_compile_to_ptx(arch, tmp_path):
    """Turing, Ampere and Hopper: the code of each is there and names its card."""
    wp = load_warp()
    compiled = []
    for name in MODULES:
        module = wp.get_module(importlib.import_module(name).__name__)
        if not module.kernels:
            continue  # functions alone
        wp.compile_aot_module(module, device=None, arch=arch, module_dir=tmp_path / name, use_ptx=True)
        (ptx,) = (tmp_path / name).rglob("*.ptx")
        assert f".target sm_{arch}" in ptx.read_text(), name
        compiled.append(name)
    assert len(compiled) >= 6
