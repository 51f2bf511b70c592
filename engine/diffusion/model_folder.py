"""What a model folder in diffusers' format says about itself, checked before any of its weights is read.

A folder comes from a stranger. Nothing of it is run and nothing but JSON, text and safetensors is read: its classes must be
those that this project knows, its numbers within bounds, its weights safetensors of the length that they claim. All that the
libraries raise for what slips through becomes a ModelError that names the part.
"""

from __future__ import annotations

import importlib
import json
import re
import reprlib
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from engine.diffusion.model_fit import check_fit
from engine.diffusion.model_parts import AGAIN, BOUNDS, CLASSES, Part, parts_for, words_of
from engine.errors import ModelError, SketchbridgeError

LARGEST_JSON = 64 * 2**20
"""Bytes: a tokenizer of 250,000 words is 20 MiB."""
POINTER = b"version https://git-lfs"
"""How a file begins that stands in the place of one that was not fetched."""
_VARIANT = re.compile(r"\.(?P<single>\w+)\.safetensors|\.safetensors\.index\.(?P<index>\w+)\.json")
LARGEST_HEADER = 100 * 2**20
"""Bytes of a safetensors file's header, the format's own limit."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder that was checked: its class by part, its configurations by part, what a narrow model says it knows, the parts themselves and
    the folder's own index of them."""

    path: Path
    classes: Mapping[str, str]
    configs: Mapping[str, Mapping[str, Any]]
    known: Mapping[str, list[str]]
    parts: tuple[Part, ...] = ()
    index: Mapping[str, Any] = field(default_factory=dict)

    def class_of(self, part: Part) -> Any:
        """The class itself, from the module that this project takes it from."""
        name = self.classes[part.folder]
        return getattr(importlib.import_module(part.classes[name]), name)

    def load(self, part: Part, **options: Any) -> Any:
        """The part, read from local JSON, text and safetensors alone. ModelError whatever goes wrong, and for weights that lack tensors."""
        kind = self.class_of(part)
        options |= {"local_files_only": True}
        if part.classes[self.classes[part.folder]] == "transformers":
            options["trust_remote_code"] = False
        with libraries(self.path, part.folder):
            if part.weights is None:
                return kind.from_pretrained(self.path / part.folder, **options)
            variant = weights_variant(self.path, part)
            options |= {"use_safetensors": True, "output_loading_info": True} | ({"variant": variant} if variant else {})
            model, info = kind.from_pretrained(self.path / part.folder, **options)
        missing = sorted(info["missing_keys"])
        if missing:
            raise ModelError(
                "model_files",
                f"The weights of '{part.folder}' in '{self.path}' lack {len(missing)} tensors, such as {missing[0]}.",
                AGAIN,
            )
        refuse_not_finite(model.state_dict(), f"The weights of '{part.folder}' in '{self.path}'")
        return model


def refuse_not_finite(tensors: Mapping[str, Any], what: str) -> None:
    """ModelError where a tensor of weights holds NaN or infinity: a model with it answers with nothing else."""
    # a sum that is finite tells that all are; one that is not may be an overflow
    strange = [name for name, tensor in tensors.items() if not tensor.sum(dtype=torch.float32).isfinite() and not tensor.isfinite().all()]
    if strange:
        raise ModelError("model_files", f"{what} hold numbers that are not finite in {len(strange)} tensors, such as {strange[0]}.", AGAIN)


@contextmanager
def libraries(folder: Path, part: str) -> Iterator[None]:
    """Turns whatever the libraries raise for a broken or hostile part into a ModelError that names it."""
    try:
        yield
    except (SketchbridgeError, MemoryError):
        raise
    except Exception as error:  # json, tokenizers, safetensors, torch and the libraries' own: there is no common base
        first = (str(error).strip().splitlines() or [""])[0][:300]
        raise ModelError(
            "model_files", f"The '{part}' of the model in '{folder}' cannot be loaded ({type(error).__name__}: {first}).", AGAIN
        ) from error


def check_folder(folder: Path) -> ModelFolder:
    """The folder's own description, or a ModelError that names the part, what was expected and what was found."""
    index = read_json(folder, "model_index.json")
    parts = parts_for(folder, index)
    for part in parts:
        check_files(folder, part)
    known = read_known(folder)
    configs = {part.folder: read_json(folder, f"{part.folder}/{part.config}") for part in parts}
    classes = {part.folder: class_name(folder, part, index, configs[part.folder]) for part in parts}
    for part in parts:
        check_config(folder, part.folder, configs[part.folder])
    check_fit(folder, configs, classes)
    for part in parts:
        if part.folder.startswith("tokenizer") and not words_of(folder / part.folder):
            raise ModelError("model_file", f"The model folder '{folder}' has no words in its {part.folder}.", AGAIN)
    for part in parts:
        if part.weights is not None:
            check_weights(folder, part)
    return ModelFolder(folder, classes, configs, known, parts, index)


def check_files(folder: Path, part: Part) -> None:
    """ModelError for anything in a part's folder that is no regular file or folder (a pipe would hang), or is far too large a text."""
    for path in (folder / part.folder).iterdir() if (folder / part.folder).is_dir() else ():
        if path.is_dir():
            continue
        if not path.is_file() or (path.suffix in (".json", ".txt") and path.stat().st_size > LARGEST_JSON):
            raise ModelError(
                "model_file",
                f"'{part.folder}/{path.name}' of the model in '{folder}' is no regular file of at most {LARGEST_JSON // 2**20} MiB.",
                AGAIN,
            )


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the folder; ModelError if the file is missing, no regular file, too large or no object."""
    path = folder / name
    if not path.exists():
        raise ModelError("model_file", f"The model folder '{folder}' has no {name}.", f"{AGAIN[:-1]}, in diffusers' format.")
    with libraries(folder, name):
        if not path.is_file() or path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"expected a file of at most {LARGEST_JSON // 2**20} MiB")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise ValueError(f"expected a JSON object, got {type(content).__name__}")
    return content


def class_name(folder: Path, part: Part, index: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The class of a part, as its configuration or model_index.json says; ModelError if it is none that this project knows."""
    entry = index.get(part.folder)
    told = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    names = [name for name in (told, config.get("_class_name") if part.weights != "model" else None) if name is not None]
    if part.folder == "scheduler":
        names = names[:1]  # a scheduler's configuration may name the one that it was made from
    unknown = [name for name in names if not isinstance(name, str) or name not in part.classes]
    if unknown or not names:
        found = f"is of class '{unknown[0]}'" if unknown else "has no class in model_index.json"
        raise ModelError(
            "model_class",
            f"The '{part.folder}' of the model in '{folder}' {found}; expected {' or '.join(part.classes)}.",
            f"Choose a model of the classes {CLASSES}.",
        )
    return names[-1]


def check_config(folder: Path, part: str, config: Mapping[str, Any], bounds: str | None = None) -> None:
    """ModelError for a configuration that asks to run code of its own, or whose numbers are out of the bounds of its kind of part."""
    if "auto_map" in config:
        raise ModelError(
            "model_code", f"The '{part}' of the model in '{folder}' asks to run code of its own ('auto_map').", "Choose another model."
        )
    for name, (low, high) in BOUNDS.get((bounds or part).rstrip("_23"), {}).items():
        values = config.get(name)
        for value in values if isinstance(values, list) else [] if values is None else [values]:
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ModelError(
                    "model_config",
                    f"The '{part}' of the model in '{folder}' has {name} = {value!r}; expected a whole number from {low} to {high}.",
                    AGAIN,
                )


def check_words(folder: Path, parts: Mapping[str, Any]) -> None:
    """ModelError for a loaded tokenizer that has more words than its text encoder takes."""
    for name in [name for name in parts if name.startswith("tokenizer")]:
        words, room = len(parts[name]), int(parts[name.replace("tokenizer", "text_encoder")].config.vocab_size)
        if words > room:
            raise ModelError(
                "model_config", f"The {name} of the model in '{folder}' has {words} words, its text encoder takes {room}.", AGAIN
            )


def weights_variant(folder: Path, part: Part) -> str | None:
    """ "" or the variant ("fp16", "bf16") under which a part's safetensors are stored; None if there are none."""
    stored = (_VARIANT.fullmatch(path.name.removeprefix(str(part.weights))) for path in (folder / part.folder).glob(f"{part.weights}.*"))
    others = sorted({found["single"] or found["index"] for found in stored if found})
    for variant in ("", "fp16", *others):
        if any((folder / part.folder / name).exists() for name in weight_names(part, variant)):
            return variant
    return None


def weight_names(part: Part, variant: str) -> tuple[str, str]:
    """The names of a part's single weight file and of its index."""
    dotted = f".{variant}" if variant else ""
    return f"{part.weights}{dotted}.safetensors", f"{part.weights}.safetensors.index{dotted}.json"


def check_weights(folder: Path, part: Part) -> None:
    """ModelError unless a part's weights are there as safetensors, all of them, each as long as its header says."""
    variant = weights_variant(folder, part)
    if variant is None:
        raise ModelError(
            "model_file",
            f"The model folder '{folder}' has no {part.weights}.safetensors in {part.folder}; "
            "weights in other formats can run code and are not read.",
            "Get the model's safetensors files, or save it with save_pretrained(..., safe_serialization=True).",
        )
    single, index = weight_names(part, variant)
    names = [single] if (folder / part.folder / single).exists() else shards(folder, f"{part.folder}/{index}")
    for name in names:
        with libraries(folder, f"{part.folder}/{name}"):
            check_length(folder / part.folder / name)


def shards(folder: Path, index: str) -> list[str]:
    """The files that an index of weights names; ModelError for one that is no safetensors file of the same folder."""
    content = read_json(folder, index).get("weight_map")
    names = sorted(set(content.values()), key=str) if isinstance(content, dict) and content else []
    for name in names or [None]:
        if not isinstance(name, str) or not name.endswith(".safetensors") or Path(name).name != name or "\\" in name:
            raise ModelError(
                "model_file",
                f"The model folder '{folder}' names '{name}' in {index}; expected .safetensors files beside it, "
                "since weights in other formats can run code.",
                AGAIN,
            )
    return names


def check_length(path: Path) -> None:
    """ValueError unless a safetensors file is a regular file whose header fits and whose data end where the file does."""
    if not path.is_file():
        raise ValueError("there is no such file")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start == POINTER[:8] and (start + file.read(len(POINTER) - 8)) == POINTER:
            raise ValueError("a git-lfs pointer stands in its place: run 'git lfs pull' in the folder")
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 2 <= length <= min(LARGEST_HEADER, size - 8):
            raise ValueError(f"the header of {size} bytes is cut off or damaged")
        header = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError(f"{size} bytes, its header says {8 + length + max(ends, default=0)}")


def read_known(folder: Path) -> dict[str, list[str]]:
    """kinds.json beside model_index.json, if any: {"kinds": [...], "words": [...]}, what a narrow model was trained on."""
    if not (folder / "kinds.json").exists():
        return {}
    content = read_json(folder, "kinds.json")
    if not content:
        return {}
    for key in ("kinds", "words"):
        told = content.get(key)
        if not isinstance(told, list) or not told or not all(isinstance(word, str) and word.strip() for word in told):
            raise ModelError(
                "model_file",
                f"kinds.json of the model in '{folder}' has {key} = {reprlib.repr(told)}; expected a list of texts: without it nobody is "
                "told which words of a prompt the model does not know.",
                f"{AGAIN[:-1]}, or remove kinds.json if it knows every word.",
            )
    return {key: content[key] for key in ("kinds", "words")}
