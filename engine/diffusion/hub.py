"""Models of the hub: which of a repository's files are needed, chosen before any is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from engine.diffusion.model_parts import FLOW_PARTS, PARTS, THIRD_TEXT, XL_PARTS, Part
from engine.errors import ModelError

FOLDERS = {part.folder: part for part in (*PARTS, *XL_PARTS, *FLOW_PARTS, *THIRD_TEXT)}


def download(hub_id: str, half: bool = False) -> Path:
    """The local copy of a model on the hub, fetched once: JSON, text and safetensors; ModelError with the fix if it cannot be had.

    half  weights stored in float16, where there are such: half of the bytes of those in float32, a third of both together
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    wanted = ["model_index.json", "kinds.json"]
    wanted += [f"{folder}/*{ending}" for folder in FOLDERS for ending in (".json", ".txt")]
    every = [f"{folder}/{part.weights}*.safetensors" for folder, part in FOLDERS.items() if part.weights]
    try:
        try:
            chosen = needed_weights(HfApi().list_repo_files(hub_id), half)
        except (HfHubHTTPError, OfflineModeIsEnabled, ConnectionError):
            chosen = every  # what is on this machine already does not depend on it
        return Path(snapshot_download(hub_id, allow_patterns=[*wanted, *chosen], ignore_patterns=["*non_ema*"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            "model_download",
            f"The model '{hub_id}' is neither a folder nor on this machine, and could not be downloaded ({type(error).__name__}).",
            "Check the name and the connection, give a folder, or use the model 'embedded'.",
        ) from error


def cached(hub_id: str) -> Path | None:
    """The folder of a model of the hub that is on this machine already; None where it is not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "model_index.json")
    return Path(found).parent if isinstance(found, str) else None


def needed_weights(files: Sequence[str], half: bool) -> list[str]:
    """Of a repository's files, the safetensors of one precision a part: float16's where that is wanted and there, else the plain ones."""
    found: list[str] = []
    for folder, part in FOLDERS.items():
        if part.weights is None:
            continue
        plain = [name for name in files if _is_weight(name, folder, part, "")]
        small = [name for name in files if _is_weight(name, folder, part, ".fp16")]
        found += small if (half and small) or not plain else plain
    return found


def _is_weight(name: str, folder: str, part: Part, variant: str) -> bool:
    path = PurePosixPath(name)
    if str(path.parent) != folder or path.suffix != ".safetensors":
        return False
    stem = path.stem
    if variant and f"{part.weights}{variant}" == stem.partition("-0")[0]:
        return True  # a whole file, or shards named weights.fp16-00001-of-00002
    return not variant and (stem == part.weights or stem.startswith(f"{part.weights}-0"))
