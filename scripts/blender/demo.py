"""The demo's half inside Blender: install the extension, open the sketch, press Refine, save, render. Run by scripts/demo.py.

    PYTHON_WITH_BPY -m scripts.blender.demo EXTENSION.zip ORDER_AS_JSON

Tells scripts/demo.py how it goes: one JSON object a line on standard output. All that Blender prints goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from scripts.blender.extension import install, leave

if TYPE_CHECKING:
    import bpy

TELL_SECONDS = 0.5
SHEET_SECONDS = 1.5
"""A guess for one tile of the contact sheet, until the first are done."""


class Teller:
    """Events for scripts/demo.py, on the standard output that this process had at first."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._begun = time.monotonic()
        self._lock = threading.Lock()

    def tell(self, event: str, **fields: Any) -> None:
        """One line, at once. If scripts/demo.py is gone, this process cancels what it does, as on Ctrl-C."""
        with self._lock:
            try:
                print(json.dumps({"event": event, "seconds": time.monotonic() - self._begun, **fields}), file=self._out, flush=True)
            except BrokenPipeError:
                self._out = open(os.devnull, "w")  # noqa: SIM115  as long as the process
                signal.raise_signal(signal.SIGINT)

    def progress(self, stage: str, step: int = 0, total: int = 0, seconds_left: float | None = None) -> None:
        """How far the work is; `seconds_left` for all that is left of it."""
        self.tell("progress", stage=stage, step=step, total=total, seconds_left=seconds_left)


class Watch(threading.Thread):
    """Looks at the running job from beside, as the panel does, and tells of its progress and notes while the operator blocks."""

    def __init__(self, jobs: Any, teller: Teller, afterwards: float) -> None:
        super().__init__(daemon=True)
        self._jobs, self._teller, self._afterwards = jobs, teller, afterwards
        self._ended = threading.Event()
        self._notes = 0
        self.session: Any = None

    def run(self) -> None:
        while not self._ended.wait(TELL_SECONDS):
            job = self._jobs.running
            if job is not None:
                self.session = job.session
            if self.session is not None:
                self._look(self.session)

    def end(self) -> None:
        """Stop looking; the notes that came last are told."""
        self._ended.set()
        self.join()
        if self.session is not None:
            self._tell_notes(self.session)

    def _look(self, session: Any) -> None:
        self._tell_notes(session)
        progress = session.progress
        left = session.seconds_left
        self._teller.progress(
            session.stage,
            progress.step if progress else 0,
            progress.total if progress else 0,
            None if left is None else left + self._afterwards,
        )

    def _tell_notes(self, session: Any) -> None:
        for note in session.notes[self._notes :]:
            self._teller.tell("note", text=note)
            self._notes += 1


def open_sketch(path: Path, grey: bool) -> list[bpy.types.Object]:
    """Open the example's file and select its sketch; grey: without its materials and colours."""
    import bpy

    bpy.ops.wm.open_mainfile(filepath=str(path))
    sketches = [found for found in bpy.context.view_layer.objects if found.type == "MESH"]
    for mesh in {found.data for found in sketches} if grey else ():
        mesh.materials.clear()
        for name in [layer.name for layer in mesh.color_attributes]:
            mesh.color_attributes.remove(mesh.color_attributes[name])
    for found in bpy.context.view_layer.objects:
        found.select_set(found in sketches)
    bpy.context.view_layer.objects.active = sketches[0]
    return sketches


def press_refine(order: dict[str, Any], jobs: Any, teller: Teller) -> tuple[bpy.types.Object | None, dict[str, Any]]:
    """Type the settings into the panel's properties and call its operator. Returns the new object and the engine's report."""
    import bpy

    settings = bpy.context.scene.sketchbridge
    for name in ("prompt", "preset", "model", "seed", "overrides"):
        setattr(settings, name, order[name])
    watch = Watch(jobs, teller, afterwards=2 * 6 * SHEET_SECONDS)
    watch.start()
    try:
        bpy.ops.sketchbridge.refine()
    except RuntimeError:
        if jobs.last is None:  # not one of the operator's own reports
            raise
    finally:
        watch.end()
    report = watch.session.result.report if watch.session is not None and watch.session.result is not None else {}
    return bpy.data.objects.get(jobs.last.result), report


def save(result: bpy.types.Object, folder: Path, name: str) -> list[str]:
    """NAME.blend with the whole scene, NAME.glb with the result alone."""
    import bpy

    blend, glb = folder / f"{name}.blend", folder / f"{name}.glb"
    bpy.context.preferences.filepaths.save_version = 0
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=True, copy=True)
    for found in bpy.context.view_layer.objects:
        found.select_set(found == result)
    bpy.ops.export_scene.gltf(filepath=str(glb), export_format="GLB", use_selection=True, export_extras=True)
    return [str(blend), str(glb)]


def render(sketches: list[bpy.types.Object], result: bpy.types.Object, path: Path, tile: int, teller: Teller) -> str:
    """The contact sheet; afterwards everything is shown in the open file, which is not saved any more."""
    import bpy

    from scripts.blender.contact_sheet import render_contact_sheet

    for found in sketches:
        found.hide_set(False)
        found.hide_render = False
    bpy.context.view_layer.update()
    begun = time.monotonic()

    def tile_done(done: int, total: int) -> None:
        teller.progress("contact sheet", done, total, (total - done) * (time.monotonic() - begun) / done)

    teller.progress("contact sheet")
    render_contact_sheet(sketches, [result], path, tile, progress=tile_done)
    return str(path)


def refine(archive: Path, order: dict[str, Any], teller: Teller) -> int:
    """All of it; the exit code."""
    teller.progress("starting Blender")
    package = install(archive)
    jobs = importlib.import_module(f"{package.__name__}.jobs")
    sketches = open_sketch(Path(order["sketch"]), order["grey"])
    result, report = press_refine(order, jobs, teller)
    if result is None:
        teller.tell("failed", message=jobs.last.text, fix=jobs.last.fix)
        return jobs.last.exit_code or 1
    teller.progress("saving")
    out = Path(order["out"])
    files = save(result, out, order["name"])
    files.append(render(sketches, result, out / f"{order['name']}.png", order["tile"], teller))
    teller.tell("done", report=report, files=files)
    return 0


def main() -> int:
    """Run one order."""
    teller = Teller()
    try:
        return refine(Path(sys.argv[1]), json.loads(sys.argv[2]), teller)
    except KeyboardInterrupt:
        teller.tell("failed", message="Cancelled.", fix="")
        return 130


if __name__ == "__main__":
    leave(main())
