"""What a batch asks of Blender: a file as a job would be sent it, and a result as .blend and USD."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import bpy
from helpers import add_cube, part


def test_read_writes_the_message_of_a_job(scene: ModuleType, tmp_path: Path) -> None:
    cli, protocol = part(scene, "cli"), part(scene, "protocol")
    add_cube("Cube")
    for mode, has_uvs in (("refine", False), ("texture", True)):
        target = tmp_path / f"{mode}.sketch"
        assert cli.main(["read", "--settings", json.dumps({"prompt": "x", "mode": mode}), "--out", str(target)]) == 0
        head, _, frame = target.read_bytes().partition(b"\n")
        assert set(json.loads(head)) == {"origin", "notes", "files"} and json.loads(head)["files"] == []
        (submit,) = protocol.Decoder().feed(frame)
        assert len(submit.faces) == 12 and submit.settings["mode"] == mode and (submit.uvs is not None) == has_uvs


def test_write_makes_blend_and_usd_of_a_file(scene: ModuleType, tmp_path: Path, capsys: Any) -> None:
    cli = part(scene, "cli")
    add_cube("Cube")
    bpy.ops.export_scene.gltf(filepath=str(tmp_path / "a.glb"))
    outs = [word for suffix in ("blend", "usdc") for word in ("--out", str(tmp_path / f"b.{suffix}"))]
    assert cli.main(["write", "--import", str(tmp_path / "a.glb"), *outs]) == 0
    assert all((tmp_path / f"b.{suffix}").stat().st_size > 100 for suffix in ("blend", "usdc"))
    with bpy.data.libraries.load(str(tmp_path / "b.blend")) as (held, _):
        assert held.objects == ["Cube"]
    assert cli.main(["write", "--import", str(tmp_path / "no.glb"), *outs]) == 2
    assert "There is no file" in capsys.readouterr().err
