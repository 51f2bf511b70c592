"""`sketchbridge image` and `sketchbridge illusion` as a user calls them, and everything that can be wrong."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_model import make_tiny_model

from engine.cli import main
from engine.errors import EXIT_BAD_INPUT, EXIT_DONE
from engine.pictures import write_animation


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture()
def painting(tmp_path) -> Path:
    path = tmp_path / "painting.png"
    Image.new("RGB", (40, 30), (200, 120, 40)).save(path)
    return path


def image(model, tmp_path, *extra) -> int:
    return main(["image", "--model", model, "--prompt", "a cup", "--out", str(tmp_path / "out.png"), "--steps", "3", *map(str, extra)])


def refused(capsys, code, *words):
    assert code == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert "fix:" in said and all(word in said for word in words), said


@pytest.mark.parametrize("method", ["calibrated", "sds", "nfsd", "csd", "vsd", "bridge", "anchored", "ddim"])
def test_text_to_image_by_every_method(model, tmp_path, method):
    assert image(model, tmp_path, "--method", method) == EXIT_DONE
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (256, 256)


def test_same_seed_same_picture(model, tmp_path):
    pictures = []
    for seed in (1, 1, 2):
        assert image(model, tmp_path, "--seed", seed) == EXIT_DONE
        pictures.append((tmp_path / "out.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_course_as_animation_and_preview(model, tmp_path):
    assert image(model, tmp_path, "--strip", tmp_path / "course.gif", "--preview", tmp_path / "now.png", "--steps", 8) == EXIT_DONE
    with Image.open(tmp_path / "course.gif") as course:
        assert course.n_frames == 8
    assert (tmp_path / "now.png").is_file()
    assert image(model, tmp_path, "--strip", tmp_path / "course.png") == EXIT_DONE
    with Image.open(tmp_path / "course.png") as course:
        assert course.size == (3 * 16, 16)


def test_painting_to_real_beside_its_baseline(model, tmp_path, painting):
    assert image(model, tmp_path, "--init", painting, "--baseline") == EXIT_DONE
    assert (tmp_path / "out.png").read_bytes() != (tmp_path / "out-sdedit.png").read_bytes()


def test_editing_with_delta_denoising(model, tmp_path, painting):
    assert image(model, tmp_path, "--init", painting, "--method", "dds", "--source", "a bowl") == EXIT_DONE


def test_illusion_writes_what_is_to_be_printed(model, tmp_path):
    out = tmp_path / "illusion"
    code = main(["illusion", "--model", model, "--prompts", "a", "b", "c", "d", "--out", str(out), "--steps", "3", "--size", "48"])
    assert code == EXIT_DONE
    sizes = {path.name: Image.open(path).size for path in out.iterdir()}
    assert sizes == {"base.png": (48, 48), "rotator.png": (48, 48), "views.png": (96, 96)}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("--method", "magic"), ("no method 'magic'", "calibrated")),
        (("--preset", "turbo"), ("no preset", "draft")),
        (("--scale", "nan"), ("scale", "finite")),
        (("--scale", "inf"), ("scale", "finite")),
        (("--steps", "0"), ("steps",)),
        (("--rate", "-1"), ("rate",)),
        (("--method", "dds"), ("--init",)),
        (("--method", "sdedit"), ("--init",)),
        (("--baseline",), ("--init",)),
        (("--strength", "0.3"), ("--strength", "--init")),
        (("--init", "nowhere.png"), ("nowhere.png",)),
        (("--prompt", "  "), ("prompt is empty",)),
        (("--model", "/no/such/folder"), ("/no/such/folder", "embedded")),
        (("--device", "tpu"), ("tpu",)),
        (("--seed", "-5"), ("Seed", "-5")),
        (("--seed", "99999999999999999999999"), ("Seed", "9,223,372,036,854,775,807")),
        (("--strip", "course.mp4"), ("course.mp4", ".gif")),
        (("--out", "picture.jpg"), (".png",)),
    ],
)
def test_bad_usage_is_explained(model, tmp_path, capsys, monkeypatch, extra, words):
    monkeypatch.chdir(tmp_path)
    refused(capsys, image(model, tmp_path, *extra), *words)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("out", "more"),
    [
        ("painting.png", []),
        ("out.png", ["--strip", "out.png"]),
        ("out.png", ["--preview", "./out.png"]),
        ("out.png", ["--baseline", "--strip", "out-sdedit.png"]),
    ],
)
def test_no_picture_is_written_over_another(model, tmp_path, capsys, monkeypatch, out, more):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16), "red").save("painting.png")
    before = Path("painting.png").read_bytes()
    words = ["image", "--model", str(model), "--prompt", "a cup", "--init", "painting.png", "--out", out, *more]
    assert main(words) == EXIT_BAD_INPUT
    assert "would be written over" in capsys.readouterr().err
    assert Path("painting.png").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["painting.png"]


def test_methods_that_do_not_start_from_a_picture(model, tmp_path, capsys, painting):
    refused(capsys, image(model, tmp_path, "--init", painting, "--method", "vsd"), "vsd", "--init")


def test_delta_denoising_without_source(model, tmp_path, capsys, painting):
    refused(capsys, image(model, tmp_path, "--init", painting, "--method", "dds"), "--source")


@pytest.mark.parametrize("strength", ["0", "1.5", "nan"])
def test_strength_out_of_range(model, tmp_path, capsys, painting, strength):
    refused(capsys, image(model, tmp_path, "--init", painting, "--strength", strength), "strength")


def test_image_that_is_no_image(model, tmp_path, capsys):
    fake = tmp_path / "fake.png"
    fake.write_text("words")
    refused(capsys, image(model, tmp_path, "--init", fake), "fake.png", "image")


def png_of_size(path: Path, width: int, height: int) -> None:
    """A PNG whose header claims a size that its data does not have: refusing it must not depend on decoding it."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", body), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("size", [(30_000, 100), (100, 30_000), (30_000, 30_000)])
def test_image_that_is_far_too_large(model, tmp_path, capsys, size):
    huge = tmp_path / "huge.png"
    png_of_size(huge, *size)
    refused(capsys, image(model, tmp_path, "--init", huge), "huge.png")


def test_cut_off_image(model, tmp_path, capsys):
    cut = tmp_path / "cut.png"
    png_of_size(cut, 200, 200)
    refused(capsys, image(model, tmp_path, "--init", cut), "cut.png")


def test_vsd_needs_attention_layers(tmp_path, capsys):
    plain = make_tiny_model(tmp_path / "plain", attention=False)
    refused(capsys, image(str(plain), tmp_path, "--method", "vsd"), "attention")


def test_illusion_needs_four_prompts(model, tmp_path, capsys):
    refused(capsys, main(["illusion", "--model", model, "--prompts", "a", "b", "--out", str(tmp_path / "i")]), "4 views")
    refused(
        capsys, main(["illusion", "--model", model, "--prompts", *"abcd", "--out", str(tmp_path / "i"), "--method", "magic"]), "no method"
    )
    refused(capsys, main(["illusion", "--model", model, "--prompts", *"abcd", "--out", str(tmp_path / "i"), "--method", "vsd"]), "Choose")
    refused(capsys, main(["illusion", "--model", model, "--prompts", *"abcd", "--out", str(tmp_path / "i"), "--size", "9999"]), "size")


def test_output_that_cannot_be_written(model, tmp_path, capsys, painting):
    refused(capsys, image(model, tmp_path, "--out", painting / "out.png"), "cannot be")


def test_animation_is_whole_or_absent(tmp_path):
    frames = [torch.rand(3, 8, 8) for _ in range(3)]
    write_animation(tmp_path / "a.gif", frames, smallest=64)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (64, 64) and gif.n_frames == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
