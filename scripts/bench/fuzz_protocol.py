"""Mutated frames against both ends of the wire: nothing but RemoteProtocolError may come out of a decoder, and nothing slowly.

    python -m scripts.bench.fuzz_protocol [--frames 1000000] [--seed 0]

Each way, conversations of real messages are spoilt (bytes, JSON values, lengths, order, cuts) and fed in pieces of random size.
Prints a table and ends with 1 where something else was raised, took longer than SLOW_SECONDS, or memory grew.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine import messages, protocol
from engine.messages import Message, RemoteProtocolError
from engine.protocol import Connection, Role

SLOW_SECONDS = 0.25
GROWTH_KB = 64 * 1024
_PREFIX = struct.Struct("<4sIQ")
VERTICES = np.arange(30, dtype=np.float32).reshape(10, 3)
FACES = np.arange(24, dtype=np.int32).reshape(8, 3) % 10
IMAGE = np.zeros((6, 8, 3), np.uint8)

FROM_ENGINE: list[Message] = [
    messages.Accepted("a"),
    messages.Progress("a", "fit", 3, 10, 12.5, {"loss": 0.25}),
    messages.Preview("a", IMAGE),
    messages.MeshUpdate("a", VERTICES, FACES, VERTICES / 30),
    messages.Note("a", "smoothed"),
    messages.Pong(3),
    messages.Done("a", {"seed": 1}, VERTICES, FACES, None, {"albedo": IMAGE.tobytes()}),
]
FROM_HOST: list[Message] = [
    messages.Hello(protocol.PROTOCOL_VERSION, "host"),
    messages.Submit("a", {"prompt": "a flower"}, VERTICES, FACES, VERTICES / 30),
    messages.Ping(3),
    messages.Cancel("a"),
    messages.Pause("a"),
    messages.Resume("a"),
    messages.Bye(),
]
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31 - 1, 2**31, 2**63, 10**400, -(10**400), 0.5, 1e308, "", "x" * 300, "\ud800", "a\x1b[2J", [], {}, [[]], [0],
    [0, 2**31 - 1, 2**31 - 1, 2**31 - 1], [2**31 - 1] * 4, [2**31 - 1, 0], [-1, 3], [1, 1, 1, 1, 1], {"a": {"a": [1e9]}}, "<f8", "|O8",
    "Infinity",
)  # fmt: skip
"""What a JSON value is replaced by; 1e999 and NaN are written into the text afterwards."""


@dataclass
class Tally:
    """What came of one direction."""

    frames: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)
    growth_kb: int = 0


def fuzz(role: Role, frames: int, seed: int) -> Tally:
    """Feed `frames` mutated frames to decoders at the end `role`."""
    generator, tally = np.random.default_rng(seed), Tally()
    before = 0
    while tally.frames < frames:
        data, count = spoilt_conversation(role, generator)
        tally.frames += count
        started = time.thread_time()  # what else the machine does is no fault
        try:
            outcome = listen(role, data, generator)
        except Exception as error:  # the finding that this is made for
            outcome = f"FAULT {type(error).__name__}"
            tally.faults.append(f"{type(error).__name__}: {error}; bytes {bytes(data[:200])!r}")
        tally.outcomes[outcome] += 1
        tally.slowest = max(tally.slowest, time.thread_time() - started)
        if not before and tally.frames > frames // 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tally.growth_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return tally


def listen(role: Role, data: bytes, generator: np.random.Generator) -> str:
    """How a fresh connection takes these bytes: "understood", "refused" or "unfinished"."""
    connection = opened(role)
    try:
        for piece in pieces(data, generator):
            for message in connection.receive(piece):
                look_at(message)
        connection.end()
    except RemoteProtocolError as error:
        return "unfinished" if "ended inside" in error.message else "refused"
    return "understood"


def look_at(message: Message) -> None:
    """What a host or an engine does with numbers first: OverflowError or ValueError where one is none."""
    if isinstance(message, messages.Progress) and message.seconds_left is not None:
        round(message.seconds_left + 0.5)
    for value in vars(message).values():
        if isinstance(value, int | float):
            assert math.isfinite(float(value))


def opened(role: Role) -> Connection:
    """A connection in the middle of what the conversations go on from."""
    connection = Connection(role)
    if role is Role.ENGINE:
        connection.send(messages.Hello(protocol.PROTOCOL_VERSION, "engine"))
    else:
        connection.receive(b"".join(protocol.encode(messages.Hello(protocol.PROTOCOL_VERSION, "engine"))))
        connection.send(messages.Hello(protocol.PROTOCOL_VERSION, "host"))
        connection.send(messages.Submit("a", {}, VERTICES, FACES))
    return connection


def spoilt_conversation(role: Role, generator: np.random.Generator) -> tuple[bytes, int]:
    """A few frames as the other end says them, one or more of them mutated; and how many frames that are."""
    script = FROM_ENGINE if role is Role.HOST else FROM_HOST
    frames = [bytearray(b"".join(protocol.encode(message))) for message in script[: generator.integers(1, len(script) + 1)]]
    for _ in range(generator.integers(1, 3)):
        index = int(generator.integers(len(frames)))
        kind = generator.integers(6)
        if kind == 0:
            flip_bytes(frames[index], generator)
        elif kind in (1, 2, 3):
            frames[index] = with_hostile_header(frames[index], generator)
        elif kind == 4:
            change_lengths(frames[index], generator)
        else:
            frames.insert(int(generator.integers(len(frames))), bytearray(frames[index]))
    data = b"".join(frames)
    return (data[: generator.integers(len(data))] if generator.random() < 0.1 else data), len(frames)


def flip_bytes(frame: bytearray, generator: np.random.Generator) -> None:
    """Overwrite one to four bytes."""
    for position in generator.integers(0, len(frame), generator.integers(1, 5)):
        frame[position] = generator.integers(256)


def change_lengths(frame: bytearray, generator: np.random.Generator) -> None:
    """Other lengths in the prefix."""
    if len(frame) < _PREFIX.size:
        return
    magic, header, payload = _PREFIX.unpack_from(frame)
    choices = (0, 1, header, payload, payload + 1, 2**20, 2**20 + 1, 2**30, 2**32 - 1)
    header, payload = (int(choices[generator.integers(len(choices))]) for _ in range(2))
    _PREFIX.pack_into(frame, 0, magic, header % 2**32, payload % 2**64)


def with_hostile_header(frame: bytearray, generator: np.random.Generator) -> bytearray:
    """One value somewhere in the JSON replaced, and the lengths made to fit again."""
    magic, length, payload = _PREFIX.unpack_from(frame)
    try:
        header = json.loads(bytes(frame[_PREFIX.size : _PREFIX.size + length]))
    except ValueError:
        return frame
    spots = list(places(header))
    owner, key = spots[generator.integers(len(spots))]
    owner[key] = HOSTILE[generator.integers(len(HOSTILE))]
    text = json.dumps(header, ensure_ascii=bool(generator.random() < 0.5)).encode("utf-8", "surrogatepass")
    if generator.random() < 0.1:
        text = text.replace(b"1e+308", b"1e999").replace(b"0.5", b"NaN").replace(b"0.25", b"1e999")
    return bytearray(_PREFIX.pack(magic, len(text), payload) + text + frame[_PREFIX.size + length :])


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below `value`."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])


def pieces(data: bytes, generator: np.random.Generator) -> Iterator[bytes]:
    """The bytes in one piece or in several."""
    cuts = sorted(generator.integers(0, len(data) + 1, generator.integers(0, 4)))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        yield data[start:end]


def main(arguments: list[str] | None = None) -> int:
    """Both ways; the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--frames", type=int, default=1_000_000, help="each way (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    failed = False
    print(
        "| decoder of | frames | understood / refused / unfinished | faults | slowest | memory growth |",
        "|---|---|---|---|---|---|",
        sep="\n",
    )
    for role in (Role.ENGINE, Role.HOST):
        tally = fuzz(role, options.frames, options.seed)
        counts = " / ".join(f"{tally.outcomes[name]:,}" for name in ("understood", "refused", "unfinished"))
        cost = f"{tally.slowest:.3f} s | {tally.growth_kb / 1024:.1f} MB"
        print(f"| {role.value} | {tally.frames:,} | {counts} | {len(tally.faults)} | {cost} |", flush=True)
        for fault in tally.faults[:5]:
            print(fault, file=sys.stderr)
        failed = failed or bool(tally.faults) or tally.slowest > SLOW_SECONDS or tally.growth_kb > GROWTH_KB
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
