"""Making one item, whichever process or machine does it: claim, look whether it is done, make, deliver, record."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import json
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.batch.item import CLAIM, DONE, FAILED, FAILURE, FORMAT, HELD, RECORD, Item, Outcome, Problem, is_url, place_name
from engine.batch.outputs import write_maps, write_pictures, write_turntable
from engine.batch.plan import fingerprint_of
from engine.batch.sources import BLENDER_TYPES, digest_of
from engine.batch.store import Store, file_system
from engine.errors import Cancelled, InputError, SketchbridgeError
from engine.file_lock import FileLock
from engine.formats.references import files_of, names_in
from engine.job_fields import JobSettings
from engine.memory import fault_of_the_machine
from engine.reporting import Reporter

if TYPE_CHECKING:
    import torch

    from engine.diffusion.prior import Prior
    from engine.mesh import Mesh

MAKE = "engine.batch.work:make"
MIRROR_SECONDS = 5.0
"""How often a checkpoint is looked at that is to be copied to a URL."""
ROUNDS_OF_REFERENCES = 2
"""An .obj names a material library, which names textures."""


@dataclass(frozen=True)
class Making:
    """What `make` gets: the item, where its sketch lies on this machine, the folder for its files, and how to start Blender."""

    item: Item
    sketch: Path
    folder: Path
    reporter: Reporter
    blender: tuple[str, ...] | None


@dataclass(frozen=True)
class Made:
    """The files written, what the report says, and files of the input that only Blender knew of. `delivered`: nothing else is kept."""

    files: Sequence[Path]
    report: Mapping[str, Any]
    also_read: Sequence[str] = ()
    delivered: Callable[[], None] = lambda: None


def read_record(store: Store, item: Item) -> dict[str, Any] | None:
    """What stands beside a finished result, or None; a record that is broken is none."""
    return _json(store.read(f"{item.name}/{RECORD}"))


def read_failure(store: Store, item: Item) -> dict[str, Any] | None:
    """Why the last try failed, or None."""
    return _json(store.read(f"{item.name}/{FAILURE}"))


def is_done(store: Store, item: Item, record: Mapping[str, Any] | None) -> bool:
    """Whether a record is of exactly this item: all files of the input, also those that only Blender knew of, and the settings; and
    whether its files still lie in the folder (of a URL the record's word counts)."""
    if record is None or record.get("format") != FORMAT:
        return False
    if store.path is not None and not all((store.path / item.name / name).is_file() for name in record.get("files", [])):
        return False
    also = record.get("also_read", {}).items()
    return record.get("fingerprint") == fingerprint_of(item) and all(digest_of(place) == digest for place, digest in also)


def do_item(item: Item, store: Store, reporter: Reporter, blender: tuple[str, ...] | None, make_name: str = MAKE) -> Outcome:
    """Make an item unless it is made or another makes it. Whatever fails is an outcome; Cancelled alone is raised."""
    begun = time.monotonic()
    try:
        with _claimed(store, item) as ours:
            if not ours:
                return Outcome(item.number, HELD)
            record = read_record(store, item)
            if is_done(store, item, record):
                return Outcome(item.number, DONE, before=True, record=record or {})
            record = _make(item, store, reporter, blender, make_name, begun)
            return Outcome(item.number, DONE, time.monotonic() - begun, record=record)
    except Cancelled:
        raise
    except Exception as error:
        problem = _problem(error)
        seconds = time.monotonic() - begun
        _record_failure(store, item, problem, seconds)
        return Outcome(item.number, FAILED, seconds, problem=problem)


def _make(item: Item, store: Store, reporter: Reporter, blender: tuple[str, ...] | None, make_name: str, begun: float) -> dict[str, Any]:
    fingerprint = fingerprint_of(item)
    store.remove(f"{item.name}/{RECORD}")
    module, _, function = make_name.partition(":")
    make_one: Callable[[Making], Made] = getattr(importlib.import_module(module), function)
    with _workplace(store, item) as folder, _fetched(item) as (sketch, beside):
        made = make_one(Making(item, sketch, folder, reporter, blender))
        if store.path is None:
            for path in made.files:
                store.put(path, f"{item.name}/{path.name}")
        record = {
            "format": FORMAT, "item": item.name, "source": item.source, "fingerprint": fingerprint,
            "also_read": {place: digest_of(place) for place in (*beside, *made.also_read)}, "files": [path.name for path in made.files],
            "seconds": round(time.monotonic() - begun, 2), "finished": time.time(), **_told(item, made.report),
        }  # fmt: skip
        store.write(f"{item.name}/{RECORD}", (json.dumps(record, indent=1) + "\n").encode())
        store.remove(f"{item.name}/{FAILURE}")
        made.delivered()
        if store.path is None:
            store.remove(f"{item.name}/{item.stem}.checkpoint")
    return record


def _told(item: Item, report: Mapping[str, Any]) -> dict[str, Any]:
    """What the gallery and the summary show."""
    figures = ("deviation_mean_percent", "deviation_p95_percent", "genus", "genus_of_sketch", "notes")
    return {**{name: item.settings.get(name) for name in ("prompt", "seed", "mode", "preset", "model")},
            **{name: report[name] for name in figures if name in report}}  # fmt: skip


def _record_failure(store: Store, item: Item, problem: Problem, seconds: float) -> None:
    """For the gallery of a later run; where not even that can be written, the outcome itself tells."""
    failure = {"item": item.name, "source": item.source, "code": problem.code, "message": problem.message, "fix": problem.fix,
               "seconds": round(seconds, 2), **_told(item, {})}  # fmt: skip
    with contextlib.suppress(SketchbridgeError, OSError):
        store.write(f"{item.name}/{FAILURE}", (json.dumps(failure, indent=1) + "\n").encode())


def _problem(error: Exception) -> Problem:
    told = error if isinstance(error, SketchbridgeError) else fault_of_the_machine(error)
    if told is not None:
        return Problem(told.code, told.message, told.fix)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem("disk_full", f"The disk is full: {error.strerror}.", "Free some space or choose another place with --out.")
    traceback.print_exception(error)
    return Problem("internal", f"The engine met an error of its own: {type(error).__name__}: {error}.", "This is a bug; please report it.")


@contextlib.contextmanager
def _claimed(store: Store, item: Item) -> Iterator[bool]:
    """Whether this process alone works on the item; of a URL, where nothing can be locked, always."""
    if store.path is None:
        yield True
        return
    folder = store.path / item.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "cannot_write", f"The folder '{folder}' cannot be made: {error.strerror or error}.", "Choose another --out."
        ) from error
    lock = FileLock(folder / CLAIM)
    ours = lock.acquire()
    try:
        yield ours
    finally:
        lock.release()


@contextlib.contextmanager
def _workplace(store: Store, item: Item) -> Iterator[Path]:
    """The folder in which files are made: the result's own, or for a URL one that is thrown away, its checkpoint copied there and back."""
    if store.path is not None:
        yield store.path / item.name
        return
    with tempfile.TemporaryDirectory(prefix="sketchbridge-item-") as scratch:
        checkpoint = Path(scratch) / f"{item.stem}.checkpoint"
        name = f"{item.name}/{checkpoint.name}"
        store.get(name, checkpoint)
        ended = threading.Event()
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        mirror = threading.Thread(target=_mirror, args=(checkpoint, store, name, seen, ended), daemon=True)
        mirror.start()
        try:
            yield Path(scratch)
        finally:
            ended.set()
            mirror.join()


def _mirror(path: Path, store: Store, name: str, seen: int, ended: threading.Event) -> None:
    """Copy a file to the store whenever its time (nanoseconds) is not the one `seen` last.

    A copy that fails is tried again at the next look: the job goes on.
    """
    while not ended.wait(MIRROR_SECONDS):
        with contextlib.suppress(OSError, SketchbridgeError):
            changed = path.stat().st_mtime_ns
            if changed != seen:
                store.put(path, name)
                seen = changed


@contextlib.contextmanager
def _fetched(item: Item) -> Iterator[tuple[Path, list[str]]]:
    """The sketch as a file of this machine; of a URL with the files that it names, whose addresses come along, there or not."""
    if not is_url(item.source):
        yield Path(item.source), []
        return
    beside: list[str] = []
    files, parent = file_system(item.source), item.source.rsplit("/", 1)[0]
    with tempfile.TemporaryDirectory(prefix="sketchbridge-sketch-") as scratch:
        sketch = Path(scratch) / place_name(item.source).name
        try:
            files.get_file(item.source, str(sketch))
            for _ in range(ROUNDS_OF_REFERENCES):
                for name in {name for path in files_of(sketch) for name in _names_in(path)}:
                    target = (Path(scratch) / name).resolve()
                    address = f"{parent}/{name}"
                    if address in beside or not target.is_relative_to(Path(scratch).resolve()):
                        continue
                    beside.append(address)
                    if files.exists(address):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        files.get_file(address, str(target))
        except FileNotFoundError as error:
            raise InputError("missing_file", f"'{item.source}' is not there any more.", "Check the address.") from error
        except Exception as error:
            raise InputError("cannot_read", f"'{item.source}' cannot be read: {error}.", "Check the address and your rights.") from error
        yield sketch, beside


def _names_in(path: Path) -> list[str]:
    """What a file names; nothing where it is broken, which is told when it is read."""
    try:
        return names_in(path)
    except Exception:
        return []


def make(making: Making) -> Made:
    """The real work: read, run the job, write what is wanted."""
    from engine.batch.blender import write_with_blender
    from engine.job import run_job
    from engine.results import write_result

    item, folder, outputs = making.item, making.folder, making.item.outputs
    sketch, settings, notes, also_read = _read(making, JobSettings.from_dict(item.settings))
    for note in notes:
        making.reporter.note(note)
    result = run_job(sketch, settings, making.reporter, folder / f"{item.stem}.checkpoint", load=_kept_prior)
    result.report["notes"] = list(getattr(making.reporter, "notes", notes))
    written = write_result(result, sketch, folder, item.stem, sheet="sheet" in outputs)
    written += write_pictures(result, sketch, folder)
    if "maps" in outputs:
        written += write_maps(result, folder, item.stem)
    if "turntable" in outputs:
        written.append(write_turntable(result, folder / f"{item.stem}.gif"))
    through = [folder / f"{item.stem}{suffix}" for kind, suffix in (("blend", ".blend"), ("usd", ".usdc")) if kind in outputs]
    if through:
        if making.blender is None:
            raise InputError(
                "unsupported_format", f"'{through[0].name}' is made by Blender, and there is none here.", "Name one with --blender."
            )
        write_with_blender(making.blender, folder / f"{item.stem}.glb", through, making.reporter.cancelled)
    return Made([*written, *through], result.report, also_read, result.delivered)


def _read(making: Making, settings: JobSettings) -> tuple[Mesh, JobSettings, list[str], list[str]]:
    """The mesh, the settings that it takes, notes, and the files that only Blender knew of."""
    from engine.batch.blender import read_sketch
    from engine.formats.meshio import load_mesh, lying_note

    if making.sketch.suffix.lower() in BLENDER_TYPES:
        if making.blender is None:
            raise InputError(
                "unsupported_format", f"'{making.sketch.name}' goes through Blender, and there is none here.", "Name one with --blender."
            )
        with tempfile.TemporaryDirectory(prefix="sketchbridge-read-") as scratch:
            read = read_sketch(making.blender, making.sketch, settings, Path(scratch), making.reporter.cancelled)
            return read.mesh, read.settings, read.notes, read.files
    notes: list[str] = []
    mesh = load_mesh(making.sketch, notes, up=making.item.up, texture=settings.mode == "texture", colours=settings.keep_colours)
    if making.item.up is None and (lying := lying_note(mesh)):
        notes.append(lying)
    return mesh, settings, notes, []


@functools.lru_cache(maxsize=1)
def _kept_prior(name: str, device: torch.device, **more: Any) -> Prior:
    """The model of the last item, or another, by `load_prior`: a worker loads it once."""
    from engine.diffusion.load import load_prior

    return load_prior(name, device, **more)


def remove_old(store: Store, item: Item) -> None:
    """Forget what an earlier run made of an item, so that it is made anew."""
    for name in (RECORD, FAILURE, f"{item.stem}.checkpoint"):
        store.remove(f"{item.name}/{name}")


def _json(data: bytes | None) -> dict[str, Any] | None:
    try:
        held = None if data is None else json.loads(data)
    except ValueError:
        return None
    return held if isinstance(held, dict) else None
