"""Where a job computes, and why not on a GPU where it does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from engine.errors import InputError, JobError
from engine.fields import check_value, table
from engine.job_fields import JobSettings

TOO_SMALL = 2.5 * 2**30
"""Bytes of a GPU's memory below which no model but the embedded one is worth trying."""


def select_device(name: str) -> torch.device:
    """ "auto" takes CUDA where there is one. JobError where CUDA is asked for and absent, InputError for another name."""
    check_value(table(JobSettings)["device"], name)
    if name == "cuda" and not torch.cuda.is_available():
        why, fix = why_no_cuda()
        raise JobError("no_cuda", f"The device 'cuda' was asked for: {why}", f"{fix} Or choose device 'auto' or 'cpu'.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def named_device(name: torch.device | str) -> torch.device:
    """The device as torch names it, such as "cuda:1". InputError for a name that is none, JobError where CUDA is asked for and absent."""
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError("bad_setting", f"There is no device {name!r}.", "Name one as torch does, such as 'cpu' or 'cuda:0'.") from error
    if device.type != "cuda":
        return device
    select_device("cuda")  # which says why there is none
    if (device.index or 0) >= (count := torch.cuda.device_count()):
        raise JobError("no_cuda", f"The device '{device}' was asked for; of such there are {count} here.", "Choose another, or 'cpu'.")
    return device


def why_no_cuda() -> tuple[str, str]:
    """Why torch computes on no GPU here, and what to do about it."""
    if torch.backends.mps.is_available():
        return (
            "the engine's own kernels run on processors and NVIDIA's GPUs, not on Apple's.",
            "Jobs take the CPU by themselves; with an NVIDIA GPU elsewhere, run the engine there through ssh.",
        )
    said = ""
    if torch.version.cuda is not None:
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            said = str(error)
    seen = shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()
    return reason(torch.version.cuda, seen, said)


def reason(build: str | None, seen: bool, said: str) -> tuple[str, str]:
    """The same by what is known: torch's CUDA version or None, whether a driver is installed, and what torch said on starting CUDA."""
    if build is None and seen:
        return (
            "this machine has an NVIDIA driver, but the engine's torch was built without CUDA.",
            "Install a CUDA build of torch into the engine's environment: its own index for CUDA, or from PyPI on Linux.",
        )
    if build is None:
        return (
            "torch was built without CUDA, and no NVIDIA driver was found.",
            "On a machine with an NVIDIA GPU install its driver and a CUDA build of torch, or run the engine there through ssh.",
        )
    if "too old" in said:
        return (
            f"the NVIDIA driver is too old for torch's CUDA {build}.",
            "Update the driver, or install a torch that was built for an older CUDA.",
        )
    if not seen:
        return f"no NVIDIA driver was found (torch has CUDA {build}).", "Install the NVIDIA driver of your GPU."
    first = (said.strip().splitlines() or ["torch finds no CUDA device"])[0]
    return (
        f"the driver is there, but CUDA does not start ({first}).",
        "See whether nvidia-smi lists the GPU and CUDA_VISIBLE_DEVICES hides none; restart the machine after an update of the driver.",
    )
