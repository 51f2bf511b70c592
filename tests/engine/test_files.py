"""Files appear whole or not at all, whoever writes them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.errors import InputError, JobError, writing
from engine.formats.files import STALE, UNFINISHED, prepare_folder, remove_unfinished, replacing, write_atomically

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_in_one_step_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "a.png", b"one")
    with replacing(tmp_path / "new" / "a.png") as unfinished:
        unfinished.write_bytes(b"two")
        assert unfinished.parent == tmp_path / "new" and unfinished.suffix == ".png" and unfinished.name.startswith(".")
        assert (tmp_path / "new" / "a.png").read_bytes() == b"one"
    assert (tmp_path / "new" / "a.png").read_bytes() == b"two" and names(tmp_path / "new") == ["a.png"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.EIO, "x")])
def test_whatever_goes_wrong_the_old_file_stays(tmp_path: Path, error: BaseException) -> None:
    write_atomically(tmp_path / "a", b"old")
    with pytest.raises(type(error)), replacing(tmp_path / "a") as unfinished:
        unfinished.write_bytes(b"half")
        raise error
    assert (tmp_path / "a").read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "a").symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "a").read_bytes() == b"new" and not (tmp_path / "a").is_symlink()


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert (tmp_path / "a").read_bytes() == b"first" and names(tmp_path) == ["a"]  # the inner block ended before


def test_a_very_long_name_has_room_for_its_unfinished_file(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".glb")
    write_atomically(path, b"x")
    assert path.read_bytes() == b"x"


def test_what_a_killed_writer_leaves_is_found_and_removed_once_it_is_old(tmp_path: Path) -> None:
    code = "import os, sys\nfrom pathlib import Path\nfrom engine.formats.files import replacing\n"
    code += "with replacing(Path(sys.argv[1]) / 'a.bin') as unfinished:\n    os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False, timeout=60)
    (left,) = tmp_path.iterdir()
    assert UNFINISHED in left.name
    remove_unfinished(tmp_path, age=3600)
    assert left.exists()
    os.utime(left, (time.time() - 7200,) * 2)
    (tmp_path / "mine.bin").write_bytes(b"x")
    os.utime(tmp_path / "mine.bin", (time.time() - 7200,) * 2)
    remove_unfinished(tmp_path, age=3600)
    assert names(tmp_path) == ["mine.bin"]
    (tmp_path / left.name).write_bytes(b"x")
    os.utime(tmp_path / left.name, (time.time() - 2 * STALE,) * 2)
    prepare_folder(tmp_path)
    assert names(tmp_path) == ["mine.bin"]


def test_a_folder_is_proven_and_left_empty(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        prepare_folder(tmp_path / "file" / "b")


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, JobError, "disk_full"),
        (errno.EDQUOT, JobError, "disk_full"),
        (errno.EACCES, InputError, "cannot_write"),
        (errno.EIO, JobError, "cannot_write"),
    ],
)
def test_the_user_learns_which_file_and_what_to_do(number: int, kind: type, code: str) -> None:
    with pytest.raises(kind) as caught, writing(Path("out/a.glb")):
        raise OSError(number, os.strerror(number))
    assert caught.value.code == code and "a.glb" in caught.value.message and os.strerror(number) in caught.value.message
