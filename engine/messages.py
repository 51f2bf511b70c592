"""What a host (Blender) and the engine say to each other, as types: their fields, their arrays, and the names they have on the wire.

How they are put into bytes, and who may say what when: `protocol`. Standard library and numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import SketchbridgeError


class ProtocolError(SketchbridgeError):
    """The rules of this file were broken."""

    def __init__(self, message: str, fix: str = "This is a bug in Sketchbridge; please report it.") -> None:
        super().__init__("protocol", message, fix)


class LocalProtocolError(ProtocolError):
    """This side tried to say something illegal: a bug here."""


class RemoteProtocolError(ProtocolError):
    """The other side said something illegal, or is not the other side at all."""


class VersionMismatch(RemoteProtocolError):
    """The other side speaks another version of this protocol."""


@dataclass(frozen=True)
class ArraySpec:
    """What an array field must be: little-endian dtype, and shape with None for any length."""

    dtype: str
    shape: tuple[int | None, ...]
    required: bool = True

    def problem(self, array: np.ndarray) -> str | None:
        """What is wrong with `array`, or None."""
        fits = array.ndim == len(self.shape) and all(want is None or want == got for want, got in zip(self.shape, array.shape, strict=True))
        if fits and dtype_name(array.dtype) == self.dtype:
            return None
        wanted = "x".join("any" if want is None else str(want) for want in self.shape)
        return f"expected {self.dtype} of shape {wanted}, got {dtype_name(array.dtype)} of shape {'x'.join(map(str, array.shape))}"


def dtype_name(dtype: np.dtype) -> str:
    """Its little-endian name."""
    return dtype.newbyteorder("<").str if dtype.str[0] in "=<" else dtype.str


def _array(dtype: str, *shape: int | None, required: bool = True) -> dict[str, ArraySpec]:
    return {"array": ArraySpec(dtype, shape, required)}


_MAP = ArraySpec("|u1", (None,))


@dataclass(frozen=True)
class Hello:
    """Both sides' first message. `info` is for people: versions, machine, device."""

    version: int
    software: str
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Submit:
    """Host: do this.

    Space is the host's (engine.conventions): right-handed, +Z up, any origin and scale; all answers are in the same.
    Colours sRGB-encoded 0..1, a row of NaN where nobody chose one; uvs per face corner, v up.
    Paint is what the colours are at points on the surface, where that is more than what the vertices say between them.
    `about` lists under "pieces" what the sketch is made of, {"object", "material"} each; piece_of_face says which each face is of.
    mask (0..1 at face corners) and mask_image, looked up by own_uvs, say where a texture is painted. `looks` are the pixels of the pictures
    that pieces show by own_uvs, RGB, one after another, row 0 at the top; `about` lists them under "looks", {"piece", "height", "width"}.
    """

    job: str
    settings: dict[str, Any]
    vertices: np.ndarray = field(metadata=_array("<f4", None, 3))
    faces: np.ndarray = field(metadata=_array("<i4", None, 3))
    colours: np.ndarray | None = field(default=None, metadata=_array("<f4", None, 3, required=False))
    uvs: np.ndarray | None = field(default=None, metadata=_array("<f4", None, 3, 2, required=False))
    paint_points: np.ndarray | None = field(default=None, metadata=_array("<f4", None, 3, required=False))
    paint_colours: np.ndarray | None = field(default=None, metadata=_array("<f4", None, 3, required=False))
    piece_of_face: np.ndarray | None = field(default=None, metadata=_array("<i4", None, required=False))
    mask: np.ndarray | None = field(default=None, metadata=_array("<f4", None, 3, required=False))
    mask_image: np.ndarray | None = field(default=None, metadata=_array("|u1", None, None, required=False))
    own_uvs: np.ndarray | None = field(default=None, metadata=_array("<f4", None, 3, 2, required=False))
    looks: np.ndarray | None = field(default=None, metadata=_array("|u1", None, required=False))
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Accepted:
    """Engine: the job has begun."""

    job: str


@dataclass(frozen=True)
class Progress:
    """Engine: `step` of `total` of `stage` are done; the whole job needs about `seconds_left` more, None while unknown."""

    job: str
    stage: str
    step: int
    total: int
    seconds_left: float | None
    figures: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Preview:
    """Engine: a picture of the work so far, row 0 at the top."""

    job: str
    image: np.ndarray = field(metadata=_array("|u1", None, None, 3))


@dataclass(frozen=True, eq=False)
class MeshUpdate:
    """Engine: the surface so far, in the space of the submitted mesh."""

    job: str
    vertices: np.ndarray = field(metadata=_array("<f4", None, 3))
    faces: np.ndarray = field(metadata=_array("<i4", None, 3))
    colours: np.ndarray | None = field(default=None, metadata=_array("<f4", None, 3, required=False))


@dataclass(frozen=True)
class Note:
    """Engine: something the user should know that is no failure."""

    job: str
    text: str


@dataclass(frozen=True, eq=False)
class Done:
    """Engine: the result. `maps` are PNG files by name ("albedo", "roughness", ...), so that the host need not compress them.

    Of several texture sets or tiles the names are those of `texture_sets.map_name`; the report's "images" lists the sets with their
    names, pieces, tiles, whether their textures repeat, and the variation that they are of, 0 for the first. Its "mean_colours" has the
    mean of each channel of each map, in 0..1.
    """

    job: str
    report: dict[str, Any]
    vertices: np.ndarray = field(metadata=_array("<f4", None, 3))
    faces: np.ndarray = field(metadata=_array("<i4", None, 3))
    uvs: np.ndarray | None = field(default=None, metadata=_array("<f4", None, 3, 2, required=False))
    maps: dict[str, bytes] = field(default_factory=dict, metadata={"maps": _MAP})


@dataclass(frozen=True)
class Failed:
    """Engine: the job failed; `exit_code` is what a command line that ran it returns (engine.errors)."""

    job: str
    code: str
    message: str
    fix: str
    exit_code: int = 1


@dataclass(frozen=True)
class Cancel:
    """Host: end that job. Answered by CancelledJob, or by Done or Failed if that was already on its way."""

    job: str


@dataclass(frozen=True)
class Pause:
    """Host: stand still between two steps until Resume or Cancel comes. Not answered."""

    job: str


@dataclass(frozen=True)
class Resume:
    """Host: go on."""

    job: str


@dataclass(frozen=True)
class CancelledJob:
    """Engine: the job ended because the host asked."""

    job: str


@dataclass(frozen=True)
class Ping:
    """Are you there? Answered by a Pong with the same token."""

    token: int


@dataclass(frozen=True)
class Pong:
    """The answer to a Ping."""

    token: int


@dataclass(frozen=True)
class Refused:
    """The connection cannot go on (another version, broken frames); nothing follows."""

    code: str
    message: str
    fix: str


@dataclass(frozen=True)
class Bye:
    """This side is about to leave; nothing follows. A host says it only between jobs: it has read the last one's end. One that leaves in
    the middle of a job closes the stream."""


Message = (
    Hello | Submit | Accepted | Progress | Preview | MeshUpdate | Note | Done | Failed | Cancel | Pause | Resume | CancelledJob
    | Ping | Pong | Refused | Bye
)  # fmt: skip

NAMES: dict[type, str] = {
    Hello: "hello", Submit: "submit", Accepted: "accepted", Progress: "progress", Preview: "preview", MeshUpdate: "mesh", Note: "note",
    Done: "done", Failed: "failed", Cancel: "cancel", Pause: "pause", Resume: "resume", CancelledJob: "cancelled",
    Ping: "ping", Pong: "pong", Refused: "refused", Bye: "bye",
}  # fmt: skip
TYPES = {name: kind for kind, name in NAMES.items()}
