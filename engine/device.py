"""Where a job computes."""

from __future__ import annotations

import torch

from engine.errors import JobError
from engine.fields import check_value, table
from engine.job_fields import JobSettings


def select_device(name: str) -> torch.device:
    """ "auto" takes CUDA where there is one. JobError where CUDA is asked for and absent, InputError for another name."""
    check_value(table(JobSettings)["device"], name)
    if name == "cuda" and not torch.cuda.is_available():
        raise JobError(
            "no_cuda",
            "The device 'cuda' was asked for, and torch finds no CUDA device.",
            "Choose device 'auto' or 'cpu', or install a CUDA build of torch and a driver.",
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
