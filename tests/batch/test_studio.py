"""What studios do to a batch: odd names and folders, spreadsheets of other countries, textures that change, processes that die."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from engine import file_lock
from engine.batch import blender, cli
from engine.batch.item import DONE, HELD
from engine.batch.plan import fingerprint_of, plan
from engine.batch.store import Store
from engine.batch.work import do_item, is_done
from engine.cli import main
from engine.errors import Cancelled, InputError
from engine.file_lock import FileLock
from engine.reporting import QuietReporter
from tests.batch.batches import BOX, STUB, alive, records, run, sketches, surroundings, write

TEXTURED = "mtllib a.mtl\n" + BOX
LIBRARY = "newmtl m\nmap_Kd wood.png\nnewmtl n\nmap_Kd iron.png\n"


def test_folders_and_files_with_spaces_umlauts_brackets_and_relative_paths(tmp_path):
    folder = tmp_path / "Bühne [v2] {seed} 50%"
    sketches(folder, ["Große Tür #1", "done", "failed", "a{seed}"])
    jobs = write(folder, '[[job]]\ninput = "sketches/*.obj"\nprompt = "a {name}"\n')
    command = ["--workers", "1"]
    first = run(jobs, "results [1]", *command)
    assert first.returncode == 0, first
    assert set(records(folder / "results [1]")) == {"Große Tür #1_obj", "done_obj", "failed_obj", "a{seed}_obj"}
    again = run(Path("jobs.toml"), "./results [1]", *command, "--resume", cwd=folder, env=surroundings(folder))
    assert again.returncode == 0 and "0 to make, 4 done before" in again.stderr, again


def test_results_never_take_the_place_of_their_sketch(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "tree.obj").write_text(BOX)
    jobs = write(tmp_path, '[[job]]\ninput = "tree/tree.obj"\nprompt = "x"\nname = "{folder}"\n')
    with pytest.raises(InputError, match="written into its own folder"):
        plan(jobs, str(tmp_path), False)
    assert [item.name for item in plan(jobs, str(tmp_path / "out"), False)] == ["tree"]


def test_prompts_of_a_spreadsheet_with_semicolons_and_of_names_in_two_signs_a_letter(tmp_path):
    sketches(tmp_path, [unicodedata.normalize("NFD", "Tür")])
    (tmp_path / "p.csv").write_bytes('file;prompt\r\nTür;"eine Tür, grün; ""alt"""\r\n'.encode("utf-8-sig"))
    (item,) = plan(write(tmp_path, '[[job]]\ninput = "sketches"\nprompts = "p.csv"\n'), str(tmp_path / "out"), False)
    assert item.settings["prompt"] == 'eine Tür, grün; "alt"'


def test_two_textures_that_change_places_are_noticed(tmp_path):
    sketches(tmp_path, ["a"])
    for name, text in (("a.obj", TEXTURED), ("a.mtl", LIBRARY), ("wood.png", "wood"), ("iron.png", "iron")):
        (tmp_path / "sketches" / name).write_text(text)
    (item,) = plan(write(tmp_path, '[[job]]\ninput = "sketches/a.obj"\nprompt = "x"\n'), str(tmp_path / "out"), False)
    before = fingerprint_of(item)
    (tmp_path / "sketches" / "wood.png").write_text("iron")
    (tmp_path / "sketches" / "iron.png").write_text("wood")
    assert fingerprint_of(item) != before


def test_a_texture_that_changes_or_comes_late_at_a_url_is_noticed(tmp_path):
    there, store = Store("memory://studio/parts"), Store(str(tmp_path / "out"))
    for name, text in (("a.obj", TEXTURED), ("a.mtl", LIBRARY), ("wood.png", "wood")):
        there.write(name, text.encode())
    jobs = write(tmp_path, '[[job]]\ninput = "memory://studio/parts/a.obj"\nprompt = "x"\n')
    (item,) = plan(jobs, str(tmp_path / "out"), False)
    for name, data in (("wood.png", b"new wood"), ("iron.png", b"iron")):
        outcome = do_item(item, store, QuietReporter(), None, STUB)
        assert outcome.state == DONE and not outcome.before and is_done(store, item, outcome.record)
        there.write(name, data)
        assert not is_done(store, item, outcome.record), name


@pytest.mark.parametrize("text, words", [("{path}", ("{path}",)), ("'{path}' -m x", ("{path}", "-m", "x")), ("", None)])
def test_blender_may_lie_in_a_folder_with_spaces(tmp_path, text, words):
    program = tmp_path / "Blender 4.5" / "blender"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    assert cli._words(text.format(path=program)) == (None if words is None else tuple(word.format(path=program) for word in words))


@pytest.mark.parametrize("words, said", [(["--blender", "'blender"], "--blender cannot be read"), (["--threads", "0"], "--threads must be"),
                                         (["--out", " "], "--out is empty")])  # fmt: skip
def test_options_that_cannot_be_meant_are_told(tmp_path, capsys, words, said):
    assert main(["batch", str(sketches(tmp_path, ["a"])), "--out", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_disk_without_locks_stops_nobody(tmp_path, monkeypatch):
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_lock, "_take", refuse)
    (item,) = plan(sketches(tmp_path, ["a"]), str(tmp_path / "out"), False)
    assert do_item(item, Store(str(tmp_path / "out")), QuietReporter(), None, STUB).state == DONE
    monkeypatch.undo()
    lock = FileLock(tmp_path / "out" / item.name / "item")
    assert lock.acquire() and do_item(item, Store(str(tmp_path / "out")), QuietReporter(), None, STUB).state == HELD
    lock.release()


def test_a_worker_whose_driver_is_gone_ends_its_item(tmp_path):
    (item,) = plan(sketches(tmp_path, ["a"]), str(tmp_path / "out"), False)
    command = [sys.executable, "-m", "engine.batch.worker"]
    own = surroundings(tmp_path, 600.0)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=own) as worker:
        assert worker.stdin and worker.stdout
        setup = {"out": str(tmp_path / "out"), "blender": [], "make": STUB, "cores": 1, "gpu": None}
        for line in (setup, {"item": item.to_dict()}):
            worker.stdin.write(json.dumps(line).encode() + b"\n")
        worker.stdin.flush()
        assert "ready" in json.loads(worker.stdout.readline()) and "progress" in json.loads(worker.stdout.readline())
        worker.stdin.close()
        assert worker.wait(30) == 0


def test_blender_ends_with_the_user_and_with_the_worker(tmp_path):
    def told() -> bool:
        return note.exists()

    note = tmp_path / "started"
    sleeper = [sys.executable, "-c", f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"]
    with pytest.raises(Cancelled):
        blender._run(sleeper, "x", told)
    note.unlink()
    code = f"from engine.batch import blender; blender._run({sleeper!r}, 'x', lambda: False)"
    with subprocess.Popen([sys.executable, "-c", code], env=surroundings(tmp_path)) as worker:
        while not note.exists() or not note.read_text():
            time.sleep(0.05)
        worker.kill()
    number = int(note.read_text())
    until = time.monotonic() + 30
    while alive([number]):
        assert time.monotonic() < until
        time.sleep(0.05)
