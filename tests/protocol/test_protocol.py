"""The wire: what is said arrives, byte by byte or whole; everything illegal is refused on the side that is to blame."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys

import numpy as np
import pytest

from engine import messages, protocol
from engine.messages import LocalProtocolError, RemoteProtocolError
from engine.protocol import Connection, Decoder, Role, State

VERTICES = np.arange(12, dtype=np.float32).reshape(4, 3)
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
UVS = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 3, 2)
IMAGE = np.arange(30, dtype=np.uint8).reshape(2, 5, 3)

EVERY_MESSAGE = [
    messages.Hello(1, "test", {"torch": "2.13", "cores": 2}),
    messages.Submit("a", {"prompt": "Blüte"}, VERTICES, FACES, VERTICES / 12, UVS),
    messages.Submit("b", {}, VERTICES, FACES),
    messages.Accepted("a"),
    messages.Progress("a", "stage 1", 3, 10, 12.5, {"loss": 0.25}),
    messages.Progress("a", "stage 1", 3, 10, None, {}),
    messages.Preview("a", IMAGE),
    messages.MeshUpdate("a", VERTICES, FACES, VERTICES / 12),
    messages.MeshUpdate("a", VERTICES[:0], FACES[:0]),
    messages.Note("a", "two\nlines"),
    messages.Done(
        "a",
        {"seed": 2**62, "nested": [1, {"x": None}]},
        VERTICES,
        FACES,
        UVS,
        {"albedo": IMAGE.tobytes(), "roughness": b"\x89PNG"},
    ),
    messages.Failed("a", "code", "what", "fix", 2),
    messages.Cancel("a"),
    messages.Pause("a"),
    messages.Resume("a"),
    messages.CancelledJob("a"),
    messages.Ping(7),
    messages.Pong(7),
    messages.Refused("wrong_version", "what", "fix"),
    messages.Bye(),
]


def whole(message: messages.Message) -> bytes:
    return b"".join(protocol.encode(message))


def same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if dataclasses.is_dataclass(left):
        return type(left) is type(right) and same(vars(left), vars(right))
    return type(left) is type(right) and left == right


def frame(header: object, payload: bytes = b"", magic: bytes = b"SKBR") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<4sIQ", magic, len(text), len(payload)) + text + payload


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_every_message_survives_whole_and_byte_by_byte(message: messages.Message) -> None:
    data = whole(message)
    assert same(Decoder().feed(data)[0], message)
    decoder = Decoder()
    answers = [decoder.feed(data[index : index + 1]) for index in range(len(data))]
    assert all(not answer for answer in answers[:-1])
    assert same(answers[-1][0], message)
    decoder.end()


def test_messages_in_one_piece_and_the_start_of_the_next() -> None:
    first, second, third = (whole(EVERY_MESSAGE[index]) for index in (1, 4, 10))
    decoder = Decoder()
    heard = decoder.feed(first + second + third[:-1])
    assert [type(message) for message in heard] == [messages.Submit, messages.Progress]
    with pytest.raises(RemoteProtocolError, match="inside a message"):
        decoder.end()
    assert same(decoder.feed(third[-1:])[0], EVERY_MESSAGE[10])


def test_arrays_are_views_that_cannot_be_written() -> None:
    message = Decoder().feed(whole(EVERY_MESSAGE[1]))[0]
    assert isinstance(message, messages.Submit)
    with pytest.raises(ValueError, match="read-only"):
        message.vertices[0] = 1


def test_strided_arrays_are_written_in_order() -> None:
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2]
    message = Decoder().feed(whole(messages.MeshUpdate("a", wide, FACES)))[0]
    assert isinstance(message, messages.MeshUpdate)
    np.testing.assert_array_equal(message.vertices, wide)


def array_header(dtype: object = "<f4", shape: object = (4, 3), name: str = "vertices") -> dict[str, object]:
    faces = {"name": "faces", "dtype": "<i4", "shape": [2, 3]}
    return {"type": "mesh", "fields": {"job": "a"}, "arrays": [{"name": name, "dtype": dtype, "shape": shape}, faces]}


BODY = VERTICES.tobytes() + FACES.tobytes()


def test_the_hand_made_frame_of_the_next_test_is_right_when_nothing_is_wrong_with_it() -> None:
    assert same(Decoder().feed(frame(array_header(), BODY))[0], messages.MeshUpdate("a", VERTICES, FACES))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"Welcome to the farm!\n", "Welcome to the farm"),
        (frame({"type": "bye"}, magic=b"SKBX"), "got the text"),
        (struct.pack("<4sIQ", b"SKBR", protocol.MAX_HEADER_BYTES + 1, 0), "announces"),
        (struct.pack("<4sIQ", b"SKBR", 10, protocol.MAX_PAYLOAD_BYTES + 1), "announces"),
        (frame(b"{not json"), "cannot be read"),
        (frame(b"\xff\xfe"), "cannot be read"),
        (frame(b"[" * 100_000), "cannot be read"),
        (frame({"type": "exec", "fields": {}, "arrays": []}), "cannot be read"),
        (frame({"type": "bye", "fields": [], "arrays": []}), "lacks its fields"),
        (frame({"type": "bye", "fields": {}, "arrays": [0] * (protocol.MAX_ARRAYS + 1)}), "too many"),
        (frame({"type": "bye", "fields": {"x": 1}, "arrays": []}), "no field 'x'"),
        (frame({"type": "accepted", "fields": {}, "arrays": []}), "must be str, got nothing"),
        (frame({"type": "ping", "fields": {"token": True}, "arrays": []}), "must be int"),
        (frame({"type": "ping", "fields": {"token": "1"}, "arrays": []}), "must be int"),
        (frame({"type": "ping", "fields": {"token": 2**63}, "arrays": []}), "9223372036854775808 is not allowed"),
        (frame(b'{"type": "hello", "fields": {"version": 1, "software": "", "info": {"x": 1e999}}, "arrays": []}'), "1e999 is not allowed"),
        (frame(b'{"type": "ping", "fields": {"token": NaN}, "arrays": []}'), "NaN is not allowed"),
        (frame({"type": "bye", "fields": {}, "arrays": []}, b"left over"), "belong to no array"),
        (frame(array_header(dtype="|O"), BODY), "dtype"),
        (frame(array_header(dtype=">f4"), BODY), "dtype"),
        (frame(array_header(dtype="<f8"), BODY), "dtype"),
        (frame(array_header(dtype="<i4"), BODY), "expected <f4"),
        (frame(array_header(shape=[3, 4]), BODY), "of shape anyx3"),
        (frame(array_header(shape=[-4, 3]), BODY), "no valid shape"),
        (frame(array_header(shape=[2**40, 3]), BODY), "no valid shape"),
        (frame(array_header(shape=[2**31 - 1, 3]), BODY), "needs"),
        (frame(array_header(shape=[0, 2**31 - 1, 2**31 - 1, 2**31 - 1]), BODY), "no valid shape"),
        (frame(array_header(shape=[2**31 - 1, 0]), BODY), "no valid shape"),
        (frame(array_header(shape=[1.5, 3]), BODY), "no valid shape"),
        (frame(array_header(shape="4x3"), BODY), "no valid shape"),
        (frame(array_header(name="corners"), BODY), "is missing"),
        (frame(array_header(), BODY[:-4]), "needs"),
        (frame(array_header(), BODY + b"more"), "belong to no array"),
        (frame({"type": "mesh", "fields": {"job": "a"}, "arrays": ["vertices"]}), "description"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        Decoder().feed(data)


def test_random_damage_never_escapes_as_another_error() -> None:
    generator = np.random.default_rng(3)
    data = whole(EVERY_MESSAGE[10])
    for _ in range(300):
        damaged = bytearray(data)
        for position in generator.integers(0, len(damaged), 3):
            damaged[position] = generator.integers(0, 256)
        decoder = Decoder()
        try:
            decoder.feed(bytes(damaged))
            decoder.end()
        except RemoteProtocolError:
            continue


@pytest.mark.parametrize(
    "message",
    [
        messages.Preview("a", VERTICES),
        messages.MeshUpdate("a", VERTICES.astype(np.float64), FACES),
        messages.MeshUpdate("a", VERTICES.astype(">f4"), FACES),
        messages.MeshUpdate("a", VERTICES, FACES.astype(np.int64)),
        messages.Progress("a", "s", 1, 2, float("nan"), {}),
        messages.Progress("a", "s", 1, 2, None, {"loss": float("inf")}),
        messages.Progress("a", "s", 1.5, 2, None, {}),  # type: ignore[arg-type]
        messages.Done("a", {"path": object()}, VERTICES, FACES),
        messages.Done("a", {}, VERTICES, FACES, None, {"albedo": "text"}),
        messages.Note("a", "x" * (protocol.MAX_HEADER_BYTES + 1)),
    ],
)
def test_nothing_illegal_is_sent(message: messages.Message) -> None:
    with pytest.raises(LocalProtocolError):
        protocol.encode(message)


def open_pair() -> tuple[Connection, Connection]:
    host, engine = Connection(Role.HOST), Connection(Role.ENGINE)
    pass_on(engine, host, messages.Hello(protocol.PROTOCOL_VERSION, "engine"))
    pass_on(host, engine, messages.Hello(protocol.PROTOCOL_VERSION, "host"))
    return host, engine


def pass_on(speaker: Connection, listener: Connection, message: messages.Message) -> list[messages.Message]:
    return listener.receive(b"".join(speaker.send(message)))


def test_two_jobs_one_after_the_other() -> None:
    host, engine = open_pair()
    for job in ("first", "second"):
        pass_on(host, engine, messages.Submit(job, {}, VERTICES, FACES))
        pass_on(engine, host, messages.Accepted(job))
        pass_on(engine, host, messages.Progress(job, "fit", 1, 2, None, {}))
        pass_on(host, engine, messages.Ping(1))
        pass_on(engine, host, messages.Pong(1))
        pass_on(engine, host, messages.Done(job, {}, VERTICES, FACES))
        assert host.state is engine.state is State.IDLE
    assert pass_on(host, engine, messages.Bye())
    assert engine.state is State.CLOSED and engine.receive(b"anything") == []


@pytest.mark.parametrize("begun", [False, True])
def test_a_host_says_bye_only_once_it_has_read_how_its_job_ended(begun: bool) -> None:
    """Not with the result on its way, which the engine would take for delivered; not to an engine that is busy either."""
    host, engine = open_pair()
    pass_on(host, engine, messages.Submit("a", {}, VERTICES, FACES))
    if begun:
        pass_on(engine, host, messages.Accepted("a"))
    with pytest.raises(LocalProtocolError, match="may not say 'bye'"):
        host.send(messages.Bye())
    with pytest.raises(RemoteProtocolError, match="said 'bye'"):
        engine.receive(b"".join(protocol.encode(messages.Bye())))
    host, engine = open_pair()
    pass_on(host, engine, messages.Submit("a", {}, VERTICES, FACES))
    pass_on(engine, host, messages.Accepted("a"))
    done = b"".join(engine.send(messages.Done("a", {}, VERTICES, FACES)))
    host.receive(done[:-1])
    with pytest.raises(LocalProtocolError, match="may not say 'bye'"):
        host.send(messages.Bye())
    host.receive(done[-1:])
    assert pass_on(host, engine, messages.Bye())


def test_cancel_that_crosses_the_end_of_its_job_is_legal() -> None:
    host, engine = open_pair()
    pass_on(host, engine, messages.Submit("a", {}, VERTICES, FACES))
    pass_on(engine, host, messages.Accepted("a"))
    done = b"".join(engine.send(messages.Done("a", {}, VERTICES, FACES)))
    assert pass_on(host, engine, messages.Cancel("a"))
    assert host.receive(done) and host.state is engine.state is State.IDLE


@pytest.mark.parametrize(
    "message",
    [messages.Submit("a", {}, VERTICES, FACES), messages.Accepted("a"), messages.Ping(1), messages.Hello(1, "")],
    ids=lambda message: type(message).__name__,
)
def test_the_host_waits_for_the_engine_to_greet(message: messages.Message) -> None:
    with pytest.raises(LocalProtocolError, match="opening"):
        Connection(Role.HOST).send(message)
    with pytest.raises(RemoteProtocolError, match="opening"):
        Connection(Role.ENGINE).receive(whole(message))


def test_what_may_not_be_said_is_refused_on_both_sides() -> None:
    host, engine = open_pair()
    with pytest.raises(LocalProtocolError, match="host may not say 'done' while the connection is idle"):
        host.send(messages.Done("a", {}, VERTICES, FACES))
    with pytest.raises(RemoteProtocolError, match="engine said 'progress' while the connection is idle"):
        host.receive(whole(messages.Progress("a", "fit", 1, 2, None, {})))
    pass_on(host, engine, messages.Submit("a", {}, VERTICES, FACES))
    pass_on(engine, host, messages.Accepted("a"))
    with pytest.raises(LocalProtocolError, match="busy"):
        host.send(messages.Submit("b", {}, VERTICES, FACES))
    with pytest.raises(RemoteProtocolError, match="job 'b', expected 'a'"):
        host.receive(whole(messages.Note("b", "")))
    assert host.state is engine.state is State.BUSY  # the refused messages changed nothing


def test_another_version_is_refused_with_the_fix() -> None:
    with pytest.raises(messages.VersionMismatch, match=rf"version 99 .*speaks {protocol.PROTOCOL_VERSION}") as caught:
        Connection(Role.HOST).receive(whole(messages.Hello(99, "engine of tomorrow")))
    assert "same release" in caught.value.fix


def test_an_end_between_messages_is_an_end_and_inside_one_an_error() -> None:
    host, _ = open_pair()
    host.end()
    assert host.state is State.CLOSED
    host, engine = open_pair()
    host.receive(b"".join(engine.send(messages.Ping(1)))[:-1])
    with pytest.raises(RemoteProtocolError, match="inside a message"):
        host.end()


def test_the_protocol_needs_numpy_and_nothing_else() -> None:
    probe = "import sys; before = set(sys.modules); import engine.protocol; print(*set(sys.modules) - before)"
    loaded = {name.split(".")[0] for name in subprocess.check_output([sys.executable, "-c", probe], text=True).split()}
    foreign = loaded - set(sys.stdlib_module_names) - {"engine", "numpy"}
    assert not foreign
