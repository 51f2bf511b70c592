"""Paths that the system cannot look at are told at every door, before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli import main
from engine.diffusion.load import ModelChoice, load_prior
from engine.errors import EXIT_BAD_INPUT, InputError
from engine.job_fields import JobSettings
from engine.lab.control import sort_controls
from engine.large_models import for_its_model
from engine.room import model_folder
from engine.texture.masks import picture
from engine.user_path import user_path

DOORS: dict[str, Callable[[str], object]] = {
    "model": load_prior,
    "job": lambda text: for_its_model(JobSettings("a cup", model=text)),
    "room": model_folder,
    "control": lambda text: ModelChoice.named("embedded", control=f"depth={text}"),
    "lora": lambda text: ModelChoice.named("embedded", lora=text),
    "reference": lambda text: ModelChoice.named("embedded", reference=f"{text}=a.png"),
    "laboratory": lambda text: sort_controls([text]),
    "mask": picture,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("text", "told"), [("~nobody-of-that-name/model", "no home folder of '~nobody-of-that-name'"), ("a" * 300, "too long")]
)
def test_a_path_that_cannot_be_looked_at_is_told(door: str, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        DOORS[door](text)
    assert caught.value.code == "cannot_read" and caught.value.fix and len(caught.value.message) < 400


def test_a_folder_closed_to_this_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may look into every folder
    with pytest.raises(InputError, match="may not look into it"):
        load_prior(str(tmp_path))


def test_what_is_there_and_what_is_not_are_paths(tmp_path: Path) -> None:
    assert user_path(str(tmp_path)) == tmp_path and user_path("no/such") == Path("no/such") and user_path("~") == Path.home()


def test_the_command_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["image", "--prompt", "a cup", "--out", str(tmp_path / "a.png"), "--model", "~nobody-of-that-name/model"]
    assert main(words) == EXIT_BAD_INPUT
    assert "no home folder" in capsys.readouterr().err and not list(tmp_path.iterdir())
