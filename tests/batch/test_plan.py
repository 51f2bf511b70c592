"""From a job file to items: every mistake is told with its line and its fix, before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.batch.plan import fingerprint_of, plan
from engine.batch.prompts import read_prompts, words_of_name
from engine.errors import InputError
from tests.batch.batches import sketches, write


def items_of(folder: Path, text: str, out: str = "out", has_blender: bool = False):
    return plan(write(folder, text), str(folder / out), has_blender)


def test_defaults_jobs_seeds_and_variations_multiply(tmp_path):
    sketches(tmp_path, ["a", "b"])
    items = items_of(tmp_path, """
[defaults]
prompt = "a {name}"
grid = 48
[[job]]
input = "sketches/*.obj"
seeds = [3, 5]
variations = [{ name = "near", adherence = 0.9 }, { prompt = "another" }]
[[job]]
input = ["sketches/a.obj"]
mode = "texture"
name = "{stem}-textured"
outputs = ["turntable"]
seeds = []
variations = []
""")  # fmt: skip
    assert [item.name for item in items[:4]] == ["a_obj-near-seed3", "a_obj-near-seed5", "a_obj-2-seed3", "a_obj-2-seed5"]
    assert len(items) == 9 and [item.number for item in items] == list(range(1, 10))
    assert items[0].settings["adherence"] == 0.9 and items[0].settings["overrides"] == {"grid": 48} and items[0].settings["seed"] == 3
    assert items[0].settings["prompt"] == "a a" and items[2].settings["prompt"] == "another"
    assert items[8].name == "a-textured" and items[8].settings["mode"] == "texture" and items[8].outputs == ("turntable",)


@pytest.mark.parametrize(
    "text, line, said",
    [
        ("[[job]]\ninput = 'sketches/*.obj'\npromt = 'x'\n", 3, "Did you mean 'prompt'?"),
        ("[defaults]\nprompt = 'x'\nadherance = 1\n[[job]]\ninput = 'sketches/*.obj'\n", 3, "Did you mean 'adherence'?"),
        ("[[job]]\nprompt = 'x'\ninput = 'nowhere/*.obj'\n", 3, "matches no sketch"),
        ("[[job]]\nprompt = 'x'\ninput = 'sketches/c.obj'\n", 3, "There is no file"),
        ("[[job]]\nprompt = 'x'\ninput = 'jobs.toml'\n", 3, "of a type that is not read here"),
        ("[[job]]\nprompt = 'x'\n", 1, "no input"),
        ("[[job]]\ninput = 'sketches/a.obj'\n", 1, "a.obj: The prompt is empty"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompt = 'x'\ngrid = 49\nadherence = 2\n", 5, "Adherence must be a number from 0 to 1"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompt = 'x'\nmode = 'dream'\n", 4, "must be one of refine, texture, got 'dream'"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompt = 'x'\noutputs = ['obj']\n", 4, "Unknown output 'obj'"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompt = 'x'\noutputs = ['blend']\n", 4, "--blender"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompt = 'x'\nseeds = 3\n", 4, "must be a list of seeds"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompt = 'a {stem}'\n", 3, "'prompt' holds '{stem}'; known are {name}"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompt = 'x'\nname = '{prompt}'\n", 4, "'name' holds '{prompt}'"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompt = 'x'\nname = 'Index.html'\n", 4, "cannot be called"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompt = 'x'\nup = 'w'\n", 4, "'up' must be one of"),
        ("[[job]]\ninput = 'sketches'\nprompt = 'x'\n[[job]]\ninput = 'sketches/a.obj'\nprompt = 'y'\n", 5, "both be written to 'a_obj'"),
        ("[[job]]\ninput = 'sketches/*.obj'\nprompts = 'p.csv'\n", 3, "the column 'prompt' is missing; found are file, words"),
        ("[[jobs]]\ninput = 'sketches/*.obj'\n", 1, "unknown 'jobs'"),
        ("[[job]]\ninput = 'sketches/*.obj\n", 2, "Correct that line"),
        ("", 1, "names no job"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_line_and_fix(tmp_path, text, line, said):
    sketches(tmp_path, ["a", "b"])
    (tmp_path / "p.csv").write_text("file,words\na.obj,x\n")
    with pytest.raises(InputError) as caught:
        items_of(tmp_path, text)
    assert "mistakes" not in caught.value.message, "what follows from a mistake is none"
    assert said in f"{caught.value.message} {caught.value.fix}" and f"jobs.toml:{line}:" in caught.value.message, caught.value


def test_all_mistakes_are_told_at_once(tmp_path):
    sketches(tmp_path, ["a"])
    with pytest.raises(InputError) as caught:
        items_of(tmp_path, "[[job]]\ninput = 'sketches/a.obj'\ngird = 3\n[[job]]\ninput = 'no.obj'\nprompt = 'x'\n")
    assert "2 mistakes" in caught.value.message and "jobs.toml:3:" in caught.value.message and "jobs.toml:5:" in caught.value.message


@pytest.mark.parametrize("text", ["sketches/*.obj", "sketches", "sketches/**/*.obj", "**/*.obj"])
def test_results_inside_of_the_searched_folder_are_refused(tmp_path, text):
    sketches(tmp_path, ["a"])
    with pytest.raises(InputError, match="inside the input folder"):
        items_of(tmp_path, f"[[job]]\ninput = '{text}'\nprompt = 'x'\n", "sketches/out")


def test_an_unreadable_sketch_among_a_hundred_is_named_and_leaves_the_others(tmp_path):
    sketches(tmp_path, [f"s{number:02}" for number in range(100)])
    (tmp_path / "sketches" / "s50.obj").write_text("")
    (tmp_path / "sketches" / "s60.obj").unlink()
    os.symlink("nowhere.obj", tmp_path / "sketches" / "s60.obj")
    (tmp_path / "sketches" / "t.blend").write_bytes(b"BLENDER")
    items = items_of(tmp_path, "[[job]]\ninput = 'sketches/*'\nprompt = 'x'\n")
    bad = {item.stem: item.problem.message for item in items if item.problem}
    assert len(items) == 101 and set(bad) == {"s50", "s60", "t"}
    assert "is empty" in bad["s50"] and "cannot be read" in bad["s60"] and "goes through Blender" in bad["t"]


def test_prompts_come_by_file_name_by_stem_from_csv_and_toml_and_for_the_rest(tmp_path):
    sketches(tmp_path, ["mug", "hat", "red_tulip-v02"])
    (tmp_path / "p.csv").write_text('file,prompt\nmug.obj,"a mug, blue"\nhat, a hat\n')
    (tmp_path / "p.toml").write_text('mug = "a mug"\n"hat.obj" = "the {name}"\n')
    found = {}
    for name in ("p.csv", "p.toml"):
        for item in items_of(tmp_path, f"[[job]]\ninput = 'sketches'\nprompts = '{name}'\nprompt = 'a {{name}}'\n"):
            found[name, item.stem] = item.settings["prompt"]
    assert [found["p.csv", name] for name in ("mug", "hat", "red_tulip-v02")] == ["a mug, blue", "a hat", "a red tulip"]
    assert [found["p.toml", name] for name in ("mug", "hat", "red_tulip-v02")] == ["a mug", "the hat", "a red tulip"]


@pytest.mark.parametrize("text, said",
                         [("file,prompt\na,\n", ":2: the prompt is empty"),
                          ("file,prompt\na,x\na,y\n", ":3: 'a' stands there twice"),
                          (b"file,prompt\na,x\nb,t\xfcr\n", ":3: a letter there is not UTF-8"),
                                        ("", "the column 'file' is missing; found are none")])  # fmt: skip
def test_a_table_of_prompts_names_the_line_of_its_mistake(tmp_path, text, said):
    (tmp_path / "p.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=said):
        read_prompts(tmp_path / "p.csv")


@pytest.mark.parametrize("stem, words", [("red_tulip-flower.v02", "red tulip flower"), ("OldHouse 3", "old house"), ("2024", "2024")])
def test_a_name_becomes_words(stem, words):
    assert words_of_name(stem) == words


def test_the_fingerprint_follows_every_file_of_the_input_and_every_setting(tmp_path):
    sketches(tmp_path, ["a"])
    sketch = tmp_path / "sketches" / "a.obj"
    sketch.write_text("mtllib a.mtl\n" + sketch.read_text())
    for name, text in (("a.mtl", "newmtl m\nmap_Kd wood.png\n"), ("wood.png", "x"), ("other.png", "x")):
        (tmp_path / "sketches" / name).write_text(text)

    def seen(text: str = "") -> str:
        return fingerprint_of(items_of(tmp_path, f"[[job]]\ninput = 'sketches/a.obj'\nprompt = 'x'\n{text}")[0])

    known = {seen()}
    (tmp_path / "sketches" / "other.png").write_text("another file")
    assert seen() in known
    for name in ("a.mtl", "wood.png", "a.obj"):
        path = tmp_path / "sketches" / name
        path.write_text(path.read_text() + "#")
        known.add(seen())
    known |= {seen("seed = 1"), seen("grid = 48"), seen("outputs = []"), seen("up = 'z'"), seen("adherence = 0.6")}
    assert len(known) == 9
