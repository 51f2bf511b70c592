"""Results in a folder, at a file:// URL and in a bucket; a bucket is a local moto server's, where moto is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from engine.batch import work
from engine.batch.store import Store
from engine.cli import main
from engine.errors import InputError
from tests.batch.batches import log_of, records, run, sketches, write

NEEDS_S3 = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("moto", "s3fs")),
    reason="moto and s3fs are not installed (extra `cluster`, pip install 'moto[s3,server]')",
)


def test_a_file_url_is_a_folder(tmp_path):
    jobs = sketches(tmp_path, ["a"])
    assert run(jobs, (tmp_path / "the out").as_uri()).returncode == 0
    assert set(records(tmp_path / "the out")) == {"a_obj"}


def test_a_url_without_a_driver_names_the_fix(tmp_path):
    done = run(sketches(tmp_path, ["a"]), "nosuch://place/x")
    assert done.returncode == 2 and "driver" in done.stderr and not log_of(tmp_path)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables with which s3:// leads to a local server that has a bucket `studio`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    log = (tmp_path_factory.mktemp("moto") / "log").open("w")
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        before = {name: os.environ.get(name) for name in own}
        os.environ.update(own)
        import s3fs  # type: ignore[import-not-found]

        s3fs.S3FileSystem().mkdir("studio")
        yield own
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        server.terminate()
        server.wait()


@NEEDS_S3
@pytest.mark.slow
def test_a_batch_from_a_bucket_into_a_bucket_and_again(tmp_path, bucket):
    jobs = sketches(tmp_path, ["a", "b", "bad"])
    store = Store("s3://studio/results")
    for path in (tmp_path / "sketches").iterdir():
        Store("s3://studio/sketches").put(path, path.name)
    write(tmp_path, '[[job]]\ninput = "s3://studio/sketches/*.obj"\nprompt = "{name}"\n')
    done = run(jobs, "s3://studio/results", "--workers", "1")
    assert done.returncode == 1 and "2 done (0 of them before), 1 failed" in done.stdout, done
    record = json.loads(store.read("a_obj/done.json") or b"{}")
    assert record["item"] == "a_obj" and all(store.read(f"a_obj/{name}") for name in record["files"])
    assert b"bad_obj" in (store.read("index.html") or b"")
    Store("s3://studio/sketches").remove("bad.obj")
    Store("s3://studio/sketches").write("b.obj", (tmp_path / "sketches" / "a.obj").read_bytes() + b"# changed\n")
    again = run(jobs, "s3://studio/results", "--resume", "--workers", "1")
    assert again.returncode == 0 and "1 to make, 1 done before" in again.stderr, again


@NEEDS_S3
@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_told_before_any_work(tmp_path, bucket):
    done = run(sketches(tmp_path, ["a"]), "s3://elsewhere/results")
    assert done.returncode == 2 and "'s3://elsewhere/results'" in done.stderr and not log_of(tmp_path), done


@NEEDS_S3
@pytest.mark.slow
def test_a_bucket_without_rights_is_told_before_any_work_with_the_fix(tmp_path, bucket, capsys):
    def ask_for_rights_after(actions: str) -> None:
        address = f"{bucket['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(address, actions.encode(), {"Content-Type": "text/plain"})).close()

    ask_for_rights_after("0")
    try:
        assert main(["batch", str(sketches(tmp_path, ["a"])), "--out", "s3://studio/closed"]) == 2
    finally:
        ask_for_rights_after("1000000000")
    told = capsys.readouterr().err
    assert "'s3://studio/closed/" in told and "Ask for the right to read and write" in told, told


@pytest.mark.parametrize("error", [PermissionError("Access Denied"), OSError("An error occurred (403): Forbidden")])
def test_a_place_without_rights_is_told_before_any_work_with_the_fix(error, monkeypatch):
    import fsspec

    class Closed(fsspec.AbstractFileSystem):
        def pipe_file(self, *_: object, **__: object) -> None:
            raise error

    monkeypatch.setattr("engine.batch.store._file_system", lambda scheme: Closed())
    with pytest.raises(InputError, match="Ask for the right to read and write"):
        Store("s3://closed/x").prepare()


def test_a_checkpoint_goes_along_to_the_url_and_comes_back(tmp_path, monkeypatch):
    """What one machine has half done another goes on with: in memory:// as in a bucket."""
    from engine.batch.item import Item

    monkeypatch.setattr(work, "MIRROR_SECONDS", 0.05)
    store = Store("memory://studio")
    item = Item(1, "a_obj", str(tmp_path / "a.obj"), {"prompt": "x"}, None, (), 1)
    with work._workplace(store, item) as folder:
        assert not (folder / "a.checkpoint").exists()
        (folder / "a.checkpoint").write_bytes(b"half")
        while store.read("a_obj/a.checkpoint") != b"half":
            time.sleep(0.02)
    assert not folder.exists()
    with work._workplace(store, item) as folder:
        assert (folder / "a.checkpoint").read_bytes() == b"half"


@NEEDS_S3
@pytest.mark.slow
def test_an_obj_of_a_bucket_comes_with_its_material_and_texture(tmp_path, bucket):
    from engine.batch.item import Item

    there = Store("s3://studio/parts")
    for name, data in (
        ("a.obj", b"mtllib a.mtl\nv 0 0 0\n"),
        ("a.mtl", b"newmtl m\nmap_Kd wood.png\n"),
        ("wood.png", b"x"),
        ("other.png", b"x"),
    ):
        there.write(name, data)
    with work._fetched(Item(1, "a", "s3://studio/parts/a.obj", {}, None, (), 1)) as (sketch, _):
        assert sorted(path.name for path in sketch.parent.iterdir()) == ["a.mtl", "a.obj", "wood.png"]
