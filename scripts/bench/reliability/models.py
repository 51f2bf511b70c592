"""Model folders of strangers: refused by name, nothing of them runs, nobody is asked, nothing hangs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from engine.diffusion.load import load_prior
from engine.errors import InputError, ModelError
from scripts.bench.reliability.tiny import Row
from tests.engine.tiny_model import make_tiny_model

SECONDS = 120
EVIL = "from pathlib import Path; Path(__file__).with_name('it_ran').touch()\n"

Spoil = Callable[[Path], None]


def attack(share: float, folder: Path, seed: int) -> list[Row]:
    """Each case once, whatever the share."""
    row, sound = Row("hostile model folders"), make_tiny_model(folder / "sound")
    load_prior(str(sound))  # the folder that all others are spoilt copies of is taken
    refused = 0
    for name, spoil in CASES.items():
        spoilt = Path(shutil.copytree(sound, folder / name.replace(" ", "_").replace("/", "_")))
        spoil(spoilt)
        fault, taken = _loaded(name, spoilt)
        refused += fault is None and not taken
        row.count(fault)
    row.remark = f"{refused} refused with a fix, the others read harmlessly: {', '.join(CASES)}"
    return [row]


def _loaded(name: str, folder: Path) -> tuple[str | None, bool]:
    """What is wrong with how a folder is loaded, and whether it was taken."""
    keyboard, sys.stdin = sys.stdin, io.StringIO("y\n" * 20)
    told, fault, taken = io.StringIO(), None, False
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(told):
            load_prior(str(folder))
        taken = True
    except (ModelError, InputError) as error:
        fault = None if error.fix else f"{name}: no fix for {error}"
    except BaseException as error:  # the finding
        fault = f"{name}: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        sys.stdin = keyboard
    if "y/N" in told.getvalue():
        fault = f"{name}: the user was asked: {told.getvalue()[-200:]}"
    return f"{name}: its code ran" if list(folder.rglob("it_ran")) else fault, taken


def _too_long(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"nothing for {SECONDS} s")


def written(name: str, text: str) -> Spoil:
    """Another content of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).write_text(text)

    return spoil


def edited(name: str, **changes: object) -> Spoil:
    """Other values in a table."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        for parent in (folder, path.parent):
            (parent / "evil.py").write_text(EVIL)

    return spoil


def cut(name: str, length: int) -> Spoil:
    """The first bytes of a file alone."""

    def spoil(folder: Path) -> None:
        path = next(folder.glob(name))
        path.write_bytes(path.read_bytes()[:length])

    return spoil


def pointer(folder: Path) -> None:
    """What a clone without git-lfs has."""
    next(folder.glob("text_encoder/*.safetensors")).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


def pickled_only(folder: Path) -> None:
    """Weights of a format that can run code, and no others."""
    path = next(folder.glob("unet/*.safetensors"))
    path.rename(path.with_suffix(".bin"))


def index_of_pickles(folder: Path) -> None:
    """An index that names such weights."""
    path = next(folder.glob("unet/*.safetensors"))
    path.rename(path.with_suffix(".bin"))
    index = {"metadata": {}, "weight_map": {"conv_in.weight": path.with_suffix(".bin").name}}
    path.with_name(path.name + ".index.json").write_text(json.dumps(index))


def piped(name: str) -> Spoil:
    """A pipe that nobody writes to, in the place of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


MAP = {"AutoTokenizer": ["evil.Evil", None], "AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}
CASES: dict[str, Spoil] = {
    "half an index": written("model_index.json", '{"_class_name": "Stable'),
    "an index that is a list": written("model_index.json", "[]"),
    "no unet": edited("model_index.json", unet=None),
    "a pipeline of its own": edited("model_index.json", _class_name=["evil", "Evil"]),
    "a scheduler of its own": edited("model_index.json", scheduler=["evil", "Evil"]),
    "AutoTokenizer": edited("model_index.json", tokenizer=["transformers", "AutoTokenizer"]),
    "AutoModel": edited("model_index.json", text_encoder=["transformers", "AutoModel"]),
    "auto_map of the tokenizer with AutoTokenizer": lambda folder: (
        edited("model_index.json", tokenizer=["transformers", "AutoTokenizer"])(folder),
        edited("tokenizer/tokenizer_config.json", auto_map=MAP)(folder),
    )[0],
    "auto_map of the text encoder with AutoModel": lambda folder: (
        edited("model_index.json", text_encoder=["transformers", "AutoModel"])(folder),
        edited("text_encoder/config.json", auto_map=MAP)(folder),
    )[0],
    "pickled weights only": pickled_only,
    "an index of pickled weights": index_of_pickles,
    "a git-lfs pointer": pointer,
    "weights cut off": cut("vae/*.safetensors", 1000),
    "no sample size": edited("unet/config.json", sample_size=None, in_channels=-1),
    "a configuration that is a pipe": piped("unet/config.json"),
    "nested 100,000 deep": written("scheduler/scheduler_config.json", "[" * 100_000),
}
