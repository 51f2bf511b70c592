"""Errors that a user can act on: what happened, what was expected, what was found, and the fix.

Every failure that leaves the engine is one of these; anything else is a bug and is reported as such.
"""

from __future__ import annotations

import contextlib
import errno
import io
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_CANCELLED = 130


CODES = {
    # settings
    "bad_setting": "a setting or an option has a value that it does not take",
    "unknown_setting": "there is no setting of that name",
    "empty_prompt": "the prompt says nothing",
    # files
    "missing_file": "there is no such file",
    "not_a_file": "a folder or a device stands where a file is expected",
    "empty_file": "the file holds nothing",
    "file_too_large": "the file is larger than what is read here",
    "unsupported_format": "the file is of a kind, or has a part, that is not read or written here",
    "corrupt_file": "the file breaks the rules of its format",
    "cannot_read": "the operating system does not let it be read",
    "cannot_write": "the place does not take the file",
    "disk_full": "the disk has no room left",
    "remote_file": "the file refers to another on a network",
    "would_overwrite": "the result would be written over what it is made from",
    # sketches
    "sketch_empty": "no faces or strokes",
    "sketch_faces": "faces refer to vertices that there are not",
    "sketch_layers": "colours or UVs do not fit to vertices and faces",
    "sketch_not_finite": "coordinates that are no numbers",
    "sketch_no_area": "faces without area",
    "sketch_too_small": "smaller than numbers can tell",
    "sketch_too_far": "so far from the origin that its shape is lost",
    "sketch_imprecise": "its detail is smaller than numbers can tell at its place",
    "unknown_part": "the model has no part, slot or object of that name",
    "nothing_to_paint": "the mask of what is to be painted is empty",
    "no_mask": "the model lacks what the mask is to be made of",
    "empty_surface": "nothing of the sketch is left after the job",
    "empty_dream": "text to 3D: with every seed the cloud went empty or filled its ball",
    # Blender's scene
    "selection": "what is selected cannot be used",
    "missing_object": "there is no object of that name",
    "hidden_object": "the object is hidden or cannot be selected",
    # batches
    "batch_file": "the job file of a batch, or a table of prompts, cannot be used",
    "no_cluster": "the Ray cluster does not answer or cannot be used",
    # models
    "model_missing": "there is no such model",
    "model_files": "files of the model are missing",
    "model_file": "a file of the model cannot be used",
    "model_config": "the model's description cannot be used",
    "model_class": "the model is of a kind that is not known here",
    "model_code": "the model brings program code, which is not run",
    "model_control": "the model lacks the conditions that the job asks for",
    "model_method": "the model cannot serve the method of guidance",
    "model_lora": "a LoRA file does not fit the model",
    "model_reference": "a reference picture's adapter does not fit the model",
    "model_download": "the model cannot be fetched",
    "model_too_large": "more images than fit",
    "not_finite": "the model answers with numbers that are not finite",
    "vsd_prior": "the model cannot be adapted by variational score distillation",
    "vsd_state": "a stored adapter does not fit to the model",
    # the machine
    "no_cuda": "CUDA was asked for and is not there",
    "no_rasterizer": "no rasterizer works here",
    "no_kaolin": "Kaolin was asked for and is not there",
    "no_pymeshlab": "even triangles were asked for and PyMeshLab is not there",
    "needs_memory": "the job needs more memory than is free",
    "out_of_memory": "memory of the machine or its GPU is used up",
    "gpu_lost": "the GPU stopped working in the middle of a job",
    # the two processes
    "engine": "the engine's process cannot be started, or it ended",
    "protocol": "the other side broke the protocol",
    "wrong_version": "the other side speaks another version of the protocol",
    "result_too_large": "the result does not fit into a message",
    # mistakes in this program
    "render_input": "what is to be rendered has the wrong shape",
    "internal": "an error that nobody foresaw",
}
"""Every code and what it stands for. They are stable: hosts and scripts may act on them. Named after the fault, not its place."""


def printable(text: str) -> str:
    """The text with its control characters made visible: what a file says must not command the terminal. Line breaks stay."""
    return "".join(letter if letter == "\n" or unicodedata.category(letter) not in _CONTROLS else repr(letter)[1:-1] for letter in text)


def tell_any_letter() -> None:
    """From here on a console that lacks a letter of a file's name shows its code, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_CONTROLS = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


class SketchbridgeError(Exception):
    """A failure with a stable code (one of CODES), a message (what, expected, got) and the fix, all for the user's eyes."""

    exit_code = EXIT_FAILED

    def __init__(self, code: str, message: str, fix: str) -> None:
        self.code = code
        self.message = printable(message)
        self.fix = printable(fix)
        super().__init__(f"{self.message} {self.fix}")


class InputError(SketchbridgeError):
    """The mesh, the prompt, a setting or a path that the user gave cannot be used."""

    exit_code = EXIT_BAD_INPUT


class ModelError(SketchbridgeError):
    """A diffusion model cannot be found, read or used."""

    exit_code = EXIT_BAD_INPUT


class JobError(SketchbridgeError):
    """The work itself failed: memory, disk, a back end that broke."""


class Cancelled(Exception):
    """The user cancelled; not a failure. The caller reports it and leaves nothing half-written."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError of the block, which writes `path` whole or not at all, into the error for the user: a place that cannot take
    the file is bad input, a disk that fails is a failed job."""
    try:
        yield
    except OSError as error:
        message = f"'{path}' could not be written: {error.strerror or error}. Nothing was written there."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise JobError("disk_full", message, "The disk is full: free some space or choose another output folder.") from error
        if error.errno in _OF_THE_PATH:
            raise InputError("cannot_write", message, "Choose an output folder that you may write to.") from error
        raise JobError("cannot_write", message, "Check the disk or choose another output folder.") from error


_OF_THE_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG)
