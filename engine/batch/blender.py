"""What a batch has Blender do: read a .blend or .fbx as the panel would, and write a result as .blend or USD."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine import lifeline
from engine.errors import Cancelled, InputError, JobError
from engine.job_fields import JobSettings
from engine.mesh import Mesh
from engine.messages import Submit
from engine.protocol import Decoder
from engine.wire_job import mesh_of

SECONDS = 600
"""The longest that Blender may take for one file."""
LOOK_SECONDS = 0.2
Cancelling = Callable[[], bool]
"""Whether the user wants it to end."""


def check_blender(command: Sequence[str]) -> None:
    """InputError where the program is not there."""
    if shutil.which(command[0]) is None:
        raise InputError(
            "missing_file", f"There is no program '{command[0]}' to run Blender.", "Give the path of Blender's executable with --blender."
        )


@dataclass(frozen=True)
class FromBlender:
    """What a job from Blender's panel would be sent of a file: the mesh and the settings, notes, and the other files it is made of."""

    mesh: Mesh
    settings: JobSettings
    notes: list[str]
    files: list[str]


def read_sketch(command: Sequence[str], source: Path, settings: JobSettings, scratch: Path, cancelled: Cancelling) -> FromBlender:
    """Have Blender read a .blend or .fbx. InputError where there is nothing of use in it, JobError where Blender fails, or Cancelled."""
    target = scratch / "read.sketch"
    opened = [str(source)] if source.suffix.lower() == ".blend" else []
    given = [] if opened else ["--import", str(source)]
    words = ["read", "--settings", json.dumps(settings.to_dict()), *given, "--out", str(target)]
    _run([*command, "-b", *opened, "--command", "sketchbridge", *words], source.name, cancelled)
    head, _, frame = target.read_bytes().partition(b"\n")
    told: dict[str, Any] = json.loads(head)
    submit = Decoder().feed(frame)[0]
    assert isinstance(submit, Submit)
    mesh = replace(mesh_of(submit).checked(), origin=tuple(told["origin"]))
    return FromBlender(mesh, JobSettings.from_dict(submit.settings), told["notes"], told["files"])


def write_with_blender(command: Sequence[str], glb: Path, targets: Sequence[Path], cancelled: Cancelling) -> None:
    """A result's .glb as .blend and .usdc."""
    outs = [word for target in targets for word in ("--out", str(target))]
    _run([*command, "-b", "--command", "sketchbridge", "write", "--import", str(glb), *outs], glb.name, cancelled)


def _run(words: list[str], what: str, cancelled: Cancelling) -> None:
    done = _ended(words, what, cancelled)
    if done.returncode == 0:
        return
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    told = next((line.removeprefix("sketchbridge: ") for line in said if line.startswith("sketchbridge: ")), "")
    told = told or f"Blender ended with {done.returncode} at '{what}': {' / '.join(said[-3:])}"
    if done.returncode == InputError.exit_code:
        raise InputError("selection", told, "Open the file in Blender and use the panel to see more.")
    raise JobError("engine", told, "Open the file in Blender and use the panel to see more.")


def _ended(words: list[str], what: str, cancelled: Cancelling) -> subprocess.CompletedProcess[str]:
    """A command to its end, or to the user's; it never outlives this process."""
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        process = subprocess.Popen(lifeline.bound(words), text=True, errors="replace", **pipes)
    except OSError as error:
        raise JobError("engine", f"Blender cannot be started: {error}.", "Name its executable with --blender.") from error
    until = time.monotonic() + SECONDS
    with process:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    printed, said = process.communicate(timeout=LOOK_SECONDS)
                    return subprocess.CompletedProcess(words, process.returncode, printed, said)
                if cancelled():
                    raise Cancelled()
                if time.monotonic() > until:
                    raise JobError("engine", f"Blender took more than {SECONDS} s for '{what}'.", "Open it in Blender: what is slow?")
        finally:
            process.kill()
