"""Folders of reference pictures as people have them: from phones, scanners, Macs and Windows, with captions in any script."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.diffusion.empirical import EmpiricalPrior, read_captions
from engine.diffusion.load import load_prior
from engine.errors import InputError, ModelError
from engine.pictures import pictures_in, read_square
from engine.vocabulary import content_words, domain_note

BOARDS = Path(__file__).resolve().parents[1] / "cases" / "boards"


def middle_of(image: torch.Tensor, side: str) -> list[float]:
    """The colour in the middle of one half of a picture [3, S, S]."""
    size = image.shape[1]
    row, column = {"top": (size // 4, size // 2), "bottom": (3 * size // 4, size // 2), "left": (size // 2, size // 4)}[side]
    return image[:, row, column].tolist()


def test_a_phone_s_picture_stands_upright() -> None:
    """Stored on its side with an EXIF orientation; red is on top as any viewer shows it."""
    image = read_square(BOARDS / "exif" / "phone front view.jpg", 64)
    red, other = middle_of(image, "top"), middle_of(image, "bottom")
    assert red[0] > 0.6 and red[2] < 0.35 and other[0] < 0.5


def test_a_16_bit_scan_keeps_its_greys() -> None:
    """Grey 20,000 of 65,535, which Pillow would clip to white."""
    image = read_square(BOARDS / "gray16" / "scan.png", 16)
    assert image.std() < 0.01 and abs(image.mean().item() - 20_000 / 65_535) < 0.01


@pytest.mark.parametrize(("mode", "value", "expected"), [("F", 0.25, 0.25), ("I", 40_000, 0.61), ("L", 51, 0.2), ("1", 1, 1.0)])
def test_any_depth_of_grey_is_read(tmp_path: Path, mode: str, value: float, expected: float) -> None:
    Image.new(mode, (4, 4), value).save(tmp_path / ("a.tif" if mode in "FI" else "a.png"))
    image = read_square(next(tmp_path.iterdir()), 4)
    assert abs(image.mean().item() - expected) < 0.01


def test_an_oriented_16_bit_picture_is_turned_too(tmp_path: Path) -> None:
    values = np.zeros((4, 8), np.uint16)
    values[:, :4] = 65_535
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: what is left is then on top
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.getexif().get(0x0112) == 6
    from engine.formats.textures import open_image

    turned = np.asarray(open_image((tmp_path / "a.png").read_bytes()))
    assert turned.shape[:2] == (8, 4) and (turned[:4, :, 0] == 255).all() and (turned[4:, :, 0] == 0).all()


@pytest.mark.parametrize("board", ["appledouble", "thumbs_and_sub"])
def test_what_is_no_picture_of_the_user_s_is_passed_over(tmp_path: Path, board: str) -> None:
    for path in (BOARDS / board).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "._photo.jpg").write_bytes(b"\0\5\x16\7Mac OS X")
    (tmp_path / "folder.png").mkdir()
    assert len(pictures_in(tmp_path)) == 1
    assert len(EmpiricalPrior.from_folder(tmp_path, 16).labels) == 1


@pytest.mark.parametrize("board", ["animated_gif", "subfolders"])
def test_a_folder_without_pictures_says_so(board: str) -> None:
    with pytest.raises(ModelError):
        load_prior(str(BOARDS / board), torch.device("cpu"))


@pytest.mark.parametrize("board", ["captions_bom", "captions_utf16"])
def test_captions_that_windows_wrote_are_read(board: str) -> None:
    labels = read_captions(BOARDS / board / "captions.jsonl")
    assert list(labels) == ["a.png"] and labels["a.png"].caption


def test_captions_of_another_script_select_their_picture() -> None:
    prior = EmpiricalPrior.from_folder(BOARDS / "captions_cjk", 16)
    for label in prior.labels:
        conditions = prior.embed([label.caption])
        assert not conditions.notes, conditions.notes
    assert prior.embed(["蓝色 房子"]).notes


def test_a_word_is_a_word_in_any_script() -> None:
    assert content_words("grüne Häuser") == ["grüne", "häuser"]
    assert content_words("红色的郁金香 🌷") == ["红色的郁金香"]
    note = domain_note("红色的郁金香 tulip", {"tulip"}, ["flower"])
    assert note is not None and "红色的郁金香" in note


@pytest.mark.parametrize("board", ["alpha", "animated_webp_apng", "cmyk", "one_px", "palette_transparency", "thin", "upper"])
def test_pictures_of_every_kind_are_read(board: str) -> None:
    (path,) = pictures_in(BOARDS / board)
    image = read_square(path, 8)
    assert image.shape == (3, 8, 8) and torch.isfinite(image).all()


@pytest.mark.parametrize(("board", "name"), [("corrupt_one", "bad.png"), ("truncated_jpg", "half.jpg")])
def test_a_broken_picture_is_named(board: str, name: str) -> None:
    with pytest.raises(InputError, match=name):
        read_square(BOARDS / board / name, 8)
    with pytest.raises((InputError, ModelError), match=name):
        load_prior(str(BOARDS / board), torch.device("cpu"))


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    Image.new("1", (13_000, 13_000)).save(tmp_path / "a.png")
    with pytest.raises(InputError) as caught:
        read_square(tmp_path / "a.png", 8)
    assert caught.value.code == "file_too_large" and "13000 x 13000" in caught.value.message
