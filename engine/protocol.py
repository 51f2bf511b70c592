"""The wire between a host (Blender) and the engine: how `messages` are put into bytes, and who may say what when.

No input or output happens here. `Connection.send` turns a message into bytes, `Connection.receive` turns bytes, in
pieces of any size, into messages; both check the one table of legal transitions. A frame is

    magic "SKBR" | header length, uint32 | payload length, uint64 | header, UTF-8 JSON | payload, raw arrays one after another

all little-endian. The header is {"type": name, "fields": {...}, "arrays": [{"name", "dtype", "shape"}, ...]}. Nothing is
ever pickled, and nothing larger than the limits below is accepted. Standard library and numpy only: the add-on carries
a copy of this file and of those it imports, and the version in `Hello` keeps two copies that differ from talking past each other.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import struct
from typing import Any, NoReturn

import numpy as np

from .messages import (
    NAMES,
    TYPES,
    Accepted,
    ArraySpec,
    Bye,
    Cancel,
    CancelledJob,
    Done,
    Failed,
    Hello,
    LocalProtocolError,
    MeshUpdate,
    Message,
    Note,
    Pause,
    Ping,
    Pong,
    Preview,
    Progress,
    ProtocolError,
    Refused,
    RemoteProtocolError,
    Resume,
    Submit,
    VersionMismatch,
    dtype_name,
)  # fmt: skip

PROTOCOL_VERSION = 3
MAGIC = b"SKBR"
MAX_HEADER_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 1 << 30
MAX_ARRAYS = 4096
DTYPES = ("<f4", "<i4", "|u1")
MAX_INTEGER = (1 << 63) - 1
"""Of every number in a header: what fits a signed 64-bit integer, and therefore a float too."""
_PREFIX = struct.Struct("<4sIQ")
_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float | None": (float, int, type(None)), "dict[str, Any]": (dict,),
}  # fmt: skip


class Role(enum.Enum):
    """The two ends of a connection."""

    HOST = "host"
    ENGINE = "engine"


class State(enum.Enum):
    """Where a connection is, as one of its ends knows it."""

    OPENING = "opening"  # nobody spoke
    GREETED = "greeted"  # the engine said hello
    IDLE = "idle"
    SUBMITTED = "submitted"
    BUSY = "busy"
    CLOSED = "closed"


_HOST, _ENGINE = Role.HOST, Role.ENGINE
TRANSITIONS: dict[tuple[State, Role, type], State] = {
    (State.OPENING, _ENGINE, Hello): State.GREETED,
    (State.GREETED, _HOST, Hello): State.IDLE,
    (State.IDLE, _HOST, Submit): State.SUBMITTED,
    (State.IDLE, _HOST, Cancel): State.IDLE,  # it crossed the job's end on the way
    (State.SUBMITTED, _ENGINE, Accepted): State.BUSY,
    (State.SUBMITTED, _ENGINE, Failed): State.IDLE,
    (State.SUBMITTED, _HOST, Cancel): State.SUBMITTED,
    (State.BUSY, _HOST, Cancel): State.BUSY,
    **{(state, _HOST, kind): state for state in (State.IDLE, State.SUBMITTED, State.BUSY) for kind in (Pause, Resume)},
    (State.BUSY, _ENGINE, Done): State.IDLE,
    (State.BUSY, _ENGINE, Failed): State.IDLE,
    (State.BUSY, _ENGINE, CancelledJob): State.IDLE,
    **{(State.BUSY, _ENGINE, kind): State.BUSY for kind in (Progress, Preview, MeshUpdate, Note)},
    **{(state, role, kind): state for state in (State.IDLE, State.SUBMITTED, State.BUSY) for role in Role for kind in (Ping, Pong)},
    **{(state, role, Refused): State.CLOSED for state in State if state is not State.CLOSED for role in Role},
    **{(state, _ENGINE, Bye): State.CLOSED for state in State if state is not State.CLOSED},
    # a host's Bye says that it has read all that was said to it: what a job leaves for another try is then no longer kept
    **{(state, _HOST, Bye): State.CLOSED for state in (State.OPENING, State.GREETED, State.IDLE)},
}
"""The one table of what may be said: (state, who speaks, message) -> state afterwards."""


class Connection:
    """One end of the wire. Not safe for use from several threads at once without a lock of the caller's."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.state = State.OPENING
        self.job = ""
        self._decoder = Decoder()

    def send(self, message: Message) -> list[bytes | memoryview]:
        """The bytes of `message` in pieces to be written in order. LocalProtocolError where it may not be said now."""
        after = TRANSITIONS.get((self.state, self.role, type(message)))
        if after is None:
            said = NAMES[type(message)]
            raise LocalProtocolError(f"The {self.role.value} may not say '{said}' while the connection is {self.state.value}.")
        pieces = encode(message)
        self._move(message, after)
        return pieces

    def receive(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """The messages that `data` completes. RemoteProtocolError for anything illegal; after Bye or Refused everything is ignored."""
        if self.state is State.CLOSED:
            return []
        return [message for message in self._decoder.feed(data) if self._accept(message)]

    def end(self) -> None:
        """The stream ended. RemoteProtocolError where it ended inside a frame."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._decoder.end()

    def _accept(self, message: Message) -> bool:
        if self.state is State.CLOSED:
            return False
        other = _ENGINE if self.role is _HOST else _HOST
        after = TRANSITIONS.get((self.state, other, type(message)))
        if after is None:
            raise RemoteProtocolError(f"The {other.value} said '{NAMES[type(message)]}' while the connection is {self.state.value}.")
        if isinstance(message, Hello) and message.version != PROTOCOL_VERSION:
            raise VersionMismatch(
                f"The {other.value} speaks protocol version {message.version} ({message.software}), "
                f"this {self.role.value} speaks {PROTOCOL_VERSION}.",
                "Update the older of the add-on and the engine so that both come from the same release.",
            )
        job = getattr(message, "job", "")
        if job != self.job and other is _ENGINE and job:
            raise RemoteProtocolError(f"The engine spoke of job '{job}', expected '{self.job}'.")
        self._move(message, after)
        return True

    def _move(self, message: Message, after: State) -> None:
        if isinstance(message, Submit):
            self.job = message.job
        self.state = after


class Decoder:
    """Cuts a stream of bytes into messages. Holds at most one unfinished frame, never more than the limits."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """The messages that `data` completes, in order. RemoteProtocolError for bytes that are no frame."""
        self._buffer += data
        messages: list[Message] = []
        while (size := self._frame_size()) is not None and len(self._buffer) >= size:
            frame = bytes(memoryview(self._buffer)[:size])
            del self._buffer[:size]
            messages.append(decode(frame))
        return messages

    def end(self) -> None:
        """The stream ended. RemoteProtocolError where a frame is unfinished."""
        if self._buffer:
            raise RemoteProtocolError(
                f"The stream ended inside a message, after {len(self._buffer)} of its bytes.",
                "The other side died or the line broke; its log tells more.",
            )

    def _frame_size(self) -> int | None:
        head = bytes(self._buffer[: _PREFIX.size])
        if not MAGIC.startswith(head[:4]):
            shown = bytes(self._buffer[:80]).decode("utf-8", "replace").strip()
            raise RemoteProtocolError(
                f"Expected a message, got the text {shown!r}.",
                "Something prints into the stream: look for output of a shell's start-up files or a wrong engine command.",
            )
        if len(head) < _PREFIX.size:
            return None
        _, header_bytes, payload_bytes = _PREFIX.unpack(head)
        if header_bytes > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
            raise RemoteProtocolError(
                f"A message announces a header of {header_bytes} bytes and {payload_bytes} bytes of arrays; "
                f"allowed are {MAX_HEADER_BYTES} and {MAX_PAYLOAD_BYTES}.",
                "Use a smaller mesh or texture size.",
            )
        return _PREFIX.size + header_bytes + payload_bytes


def encode(message: Message) -> list[bytes | memoryview]:
    """The frame of `message` in pieces: prefix with header, then each array's bytes without a copy.

    LocalProtocolError for a field of the wrong type, an array of the wrong dtype or shape, a number that is not finite.
    """
    fields: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for entry in dataclasses.fields(message):
        value = getattr(message, entry.name)
        if "array" in entry.metadata:
            if value is not None:
                arrays[entry.name] = value
        elif "maps" in entry.metadata:
            arrays.update({f"{entry.name}/{name}": _file_array(name, file) for name, file in value.items()})
        else:
            fields[entry.name] = value
    _check(type(message), fields, arrays, LocalProtocolError)
    described = [{"name": name, "dtype": dtype_name(array.dtype), "shape": list(array.shape)} for name, array in arrays.items()]
    try:
        header = json.dumps({"type": NAMES[type(message)], "fields": fields, "arrays": described}, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"Message '{NAMES[type(message)]}' cannot be written as JSON: {error}.") from error
    payload = [np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"") for array in arrays.values()]
    total = sum(len(piece) for piece in payload)
    if len(header) > MAX_HEADER_BYTES or total > MAX_PAYLOAD_BYTES or len(arrays) > MAX_ARRAYS:
        raise LocalProtocolError(
            f"Message '{NAMES[type(message)]}' is too large: {len(header)} bytes of header, {total} bytes in {len(arrays)} arrays; "
            f"allowed are {MAX_HEADER_BYTES}, {MAX_PAYLOAD_BYTES} and {MAX_ARRAYS}.",
            "Use a smaller mesh or texture size.",
        )
    return [_PREFIX.pack(MAGIC, len(header), total) + header, *payload]


def decode(frame: bytes) -> Message:
    """The message in one whole frame; its arrays are read-only views of `frame`. RemoteProtocolError for anything else."""
    _, header_bytes, payload_bytes = _PREFIX.unpack_from(frame)
    body = _PREFIX.size + header_bytes
    try:
        text = frame[_PREFIX.size : body].decode("utf-8")
        header = json.loads(text, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer)
        kind, fields, described = TYPES[header["type"]], header["fields"], header["arrays"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RemoteProtocolError(f"A message's header cannot be read ({type(error).__name__}: {error}).") from error
    if not isinstance(fields, dict) or not isinstance(described, list) or len(described) > MAX_ARRAYS:
        raise RemoteProtocolError("A message's header lacks its fields or its list of arrays, or lists too many.")
    arrays, offset = {}, body
    for entry in described:
        name, dtype, shape = _described_array(entry)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if offset + size > len(frame):
            raise RemoteProtocolError(f"Array '{name}' needs {size} bytes, the message has {len(frame) - offset} left.")
        arrays[name] = np.frombuffer(frame, dtype, math.prod(shape), offset).reshape(shape)
        offset += size
    if offset != body + payload_bytes:
        raise RemoteProtocolError(f"A message carries {body + payload_bytes - offset} bytes that belong to no array.")
    _check(kind, fields, arrays, RemoteProtocolError)
    maps = {name.split("/", 1)[1]: arrays.pop(name).tobytes() for name in list(arrays) if "/" in name}
    return kind(**fields, **arrays, **({"maps": maps} if maps else {}))


def _described_array(entry: Any) -> tuple[str, str, tuple[int, ...]]:
    if not isinstance(entry, dict) or set(entry) != {"name", "dtype", "shape"}:
        raise RemoteProtocolError(f"An array's description must have name, dtype and shape, got {str(entry)[:100]}.")
    name, dtype, shape = entry["name"], entry["dtype"], entry["shape"]
    if not isinstance(name, str) or dtype not in DTYPES:
        raise RemoteProtocolError(f"Array {str(name)[:40]!r} has dtype {str(dtype)[:40]!r}; allowed are {', '.join(DTYPES)}.")
    lengths_fit = isinstance(shape, list) and len(shape) <= 4 and all(type(length) is int and 0 <= length < 2**31 for length in shape)
    if not lengths_fit or (0 in shape and math.prod(max(length, 1) for length in shape) > MAX_PAYLOAD_BYTES):  # numpy limits that too
        raise RemoteProtocolError(f"Array {name!r} has no valid shape: {str(shape)[:60]}.")
    return name, dtype, tuple(shape)


def _check(kind: type, fields: dict[str, Any], arrays: dict[str, np.ndarray], error: type[ProtocolError]) -> None:
    """Every field there and of its type, every array of its dtype and shape, and nothing else."""
    known_fields, known_arrays = set(), set()
    for entry in dataclasses.fields(kind):
        if "array" in entry.metadata:
            known_arrays.add(entry.name)
            _check_array(kind, entry.name, entry.metadata["array"], arrays.get(entry.name), error)
        elif "maps" in entry.metadata:
            for name in [name for name in arrays if name.startswith(f"{entry.name}/")]:
                known_arrays.add(name)
                _check_array(kind, name, entry.metadata["maps"], arrays[name], error)
        else:
            known_fields.add(entry.name)
            value = fields.get(entry.name, error)
            if not isinstance(value, _PLAIN[str(entry.type)]) or isinstance(value, bool):
                got = "nothing" if value is error else repr(value)[:60]
                raise error(f"Field '{entry.name}' of '{NAMES[kind]}' must be {entry.type}, got {got}.")
    extra = sorted((set(fields) - known_fields) | (set(arrays) - known_arrays))
    if extra:
        raise error(f"Message '{NAMES[kind]}' has no field '{extra[0][:60]}'.")


def _check_array(kind: type, name: str, spec: ArraySpec, array: np.ndarray | None, error: type[ProtocolError]) -> None:
    missing = "is missing" if spec.required else None
    problem = missing if array is None else spec.problem(array)
    if problem:
        raise error(f"Array '{name}' of '{NAMES[kind]}': {problem}.")


def _file_array(name: str, file: object) -> np.ndarray:
    if not isinstance(file, bytes):
        raise LocalProtocolError(f"Map '{name}' must be a file's bytes, got {type(file).__name__}.")
    return np.frombuffer(file, np.uint8) if file else np.zeros(0, np.uint8)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not allowed")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_constant(text)


def _integer(text: str) -> int:
    value = int(text)
    return value if abs(value) <= MAX_INTEGER else _no_constant(text)
