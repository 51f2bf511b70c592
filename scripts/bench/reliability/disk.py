"""Folders and disks that fail, before and during a job of the command line: a sentence, and nobody's file is lost."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import resource
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

from engine import checkpoint, cli
from engine.formats.meshio import load_mesh, save_glb
from scripts.bench.reliability.kills import load_all
from scripts.bench.reliability.tiny import NUMBERS, Row, board, box

PRECIOUS = "precious"
FILE_LIMIT, DISK_BYTES = 4096, 1 << 20
NOBODY = 65534

Act = Callable[[Path], None]


def attack(share: float, folder: Path, seed: int) -> list[Row]:
    """Each case once, whatever the share."""
    load_all()  # before a process has no rights any more
    cli.build_parser()
    for module in ("engine.formats.meshio", "engine.results", "engine.contact_sheet", "PIL.PngImagePlugin"):
        importlib.import_module(module)
    folder.chmod(0o755)
    row = Row("disk and folder cases (full, read-only, removed, replaced, links, limits)")
    model = board(folder / "board")
    sketch = folder / "box.glb"
    mesh = box(layout=True)
    save_glb(sketch, mesh, {}, "box")
    load_mesh(sketch)
    checkpoint.INTERVAL_SECONDS = 0.0
    told = []
    for name, (before, during, expected) in CASES.items():
        place = folder / name.replace(" ", "_")
        place.mkdir()
        (place / "precious.txt").write_text(PRECIOUS)
        code, text = _apart(place, sketch, model, before, during)
        row.count(_judged(name, place, code, text, expected))
        told.append(f"{name}: {code}")
    row.remark = "exit codes: " + ", ".join(told)
    return [row]


def _judged(name: str, place: Path, code: int, text: str, expected: tuple[int, ...]) -> str | None:
    """What is wrong with how a case ended."""
    if code not in expected:
        return f"{name}: exit {code}, expected one of {expected}: {text[-600:]}"
    if "Traceback" in text:
        return f"{name}: traceback: {text[-600:]}"
    if code and "fix:" not in text:
        return f"{name}: no fix: {text[-300:]}"
    if (place / "precious.txt").read_text() != PRECIOUS:
        return f"{name}: somebody else's file was written"
    unfinished = [path.name for path in place.rglob("*") if ".part" in path.name and not path.is_symlink()]
    return f"{name}: left {unfinished}" if unfinished else None


def _apart(place: Path, sketch: Path, model: Path, before: Act, during: Act) -> tuple[int, str]:
    """One job of the command line in a forked process: its exit code (99 for a crash) and all that it printed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        code, told = 99, io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            try:
                code = _job(place, sketch, model, before, during)
            except BaseException:
                traceback.print_exc()
        with contextlib.suppress(BaseException), open(write, "w") as file:
            file.write(told.getvalue())
        os._exit(code)
    os.close(write)
    with open(read, errors="replace") as file:
        text = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    subprocess.run(["umount", str(place / "out")], check=False, stderr=subprocess.DEVNULL)
    return code, text


def _job(place: Path, sketch: Path, model: Path, before: Act, during: Act) -> int:
    acted = [False]
    progress = cli.InterruptibleReporter.progress

    def acting(self: cli.InterruptibleReporter, stage: str, step: int, *rest: object) -> None:
        progress(self, stage, step, *rest)  # type: ignore[arg-type]
        if stage == "stage 1" and step >= 3 and not acted[0]:
            acted[0] = True
            during(place / "out")

    cli.InterruptibleReporter.progress = acting  # type: ignore[method-assign]
    before(place / "out")
    words = [word for name, value in NUMBERS.items() if name not in ("faces", "texture_size") for word in ("--set", f"{name}={value}")]
    arguments = ["texture", str(sketch), "--prompt", "a red box", "--model", str(model), "--out", str(place / "out"), *words]
    return cli.main([*arguments, "--texture-size", "64"])


def nothing(out: Path) -> None:
    """As it should be."""


def a_file(out: Path) -> None:
    out.write_text("a file")


def a_link_to_nothing(out: Path) -> None:
    out.symlink_to(out.parent / "nowhere" / "at" / "all")


def nobodys(out: Path) -> None:
    """A folder that may be read and not written, and a process without rights."""
    out.mkdir()
    out.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)


def read_only_now(out: Path) -> None:
    out.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)


def removed_now(out: Path) -> None:
    for path in out.iterdir():
        path.unlink()
    out.rmdir()


def replaced_now(out: Path) -> None:
    removed_now(out)
    out.write_text("a file")


def small_files(out: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, resource.RLIM_INFINITY))


def no_more_files(out: Path) -> None:
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def small_disk(out: Path) -> None:
    out.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(out)]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
        small_files(out)  # where nothing may be mounted


def full_disk(out: Path) -> None:
    small_disk(out)
    full_now(out)


def full_now(out: Path) -> None:
    with contextlib.suppress(OSError), (out / "filler").open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()


def linked(name: str) -> Act:
    """A link of this name in the folder to a file that is somebody else's."""

    def act(out: Path) -> None:
        out.mkdir(exist_ok=True)
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(out.parent / "precious.txt")

    return act


def folder_named(name: str) -> Act:
    """A folder in the place of a file."""

    def act(out: Path) -> None:
        (out / name).mkdir(parents=True)

    return act


def pipe_named(name: str) -> Act:
    """A pipe in the place of a file."""

    def act(out: Path) -> None:
        out.mkdir()
        os.mkfifo(out / name)

    return act


CASES: dict[str, tuple[Act, Act, tuple[int, ...]]] = {
    "nothing wrong": (nothing, nothing, (0,)),
    "a file in its place": (a_file, nothing, (2,)),
    "a link to nothing": (a_link_to_nothing, nothing, (2,)),
    "read-only": (nobodys, nothing, (2,)),
    "read-only during": (nothing, read_only_now, (1, 2)),
    "removed during": (nothing, removed_now, (0, 1, 2)),
    "replaced by a file during": (nothing, replaced_now, (1, 2)),
    "full": (full_disk, nothing, (1, 2)),
    "full during": (small_disk, full_now, (1, 2)),
    "files limited": (small_files, nothing, (1, 2)),
    "files limited during": (nothing, small_files, (1, 2)),
    "no descriptors during": (nothing, no_more_files, (0, 1, 2)),
    "checkpoint is a link": (linked("box.checkpoint"), nothing, (0,)),
    "checkpoint.part is a link": (linked("box.checkpoint.part"), nothing, (0,)),
    "lock is a link": (linked("box.checkpoint.lock"), nothing, (0,)),
    "checkpoint is a folder": (folder_named("box.checkpoint"), nothing, (0,)),
    "checkpoint is a pipe": (pipe_named("box.checkpoint"), nothing, (0,)),
    "result is a link": (linked("box.glb"), nothing, (0,)),
    "result is a link during": (nothing, linked("box.glb"), (0,)),
    "result is a folder": (folder_named("box.glb"), nothing, (1, 2)),
}
"""Name -> what is done before the job, what during it, and the exit codes that are right."""
