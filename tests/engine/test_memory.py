"""Memory that is used up is a sentence, whoever says so and however; what is no such error stays what it is."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.memory import out_of_memory

ROOT = Path(__file__).resolve().parents[2]


def raised(work) -> BaseException:
    with pytest.raises(BaseException) as caught:
        work()
    return caught.value


def test_numpys_and_torchs_own_errors_are_known() -> None:
    for work in (lambda: np.zeros(2**50), lambda: torch.zeros(2**50)):
        error = out_of_memory(raised(work))
        assert error is not None and error.code == "out_of_memory" and "machine's memory" in error.message and error.fix


def test_a_gpus_memory_is_named() -> None:
    error = out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"))
    assert error is not None and "GPU" in error.message and "cpu" in error.fix


def test_the_cause_behind_an_error_counts() -> None:
    def load() -> None:
        try:
            raise OSError("warp.so: failed to map segment from shared object")
        except OSError as error:
            raise RuntimeError("Failed to load the shared library 'warp.so'") from error

    assert out_of_memory(raised(load)) is not None


def test_other_errors_are_not_taken_for_it() -> None:
    assert out_of_memory(ValueError("crashed")) is None
    assert out_of_memory(raised(lambda: torch.zeros(2) @ torch.zeros(3))) is None
    assert out_of_memory(FileNotFoundError(2, "No such file or directory")) is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's address space is Linux's")
@pytest.mark.parametrize("gigabytes", [1.2, 1.8])
def test_the_command_line_says_it_in_a_sentence(gigabytes: float, tmp_path: Path) -> None:
    """At these limits the job once ended in tracebacks of numpy's and of the loader of native libraries."""
    limit = int(gigabytes * 2**30)
    job = ["refine", "examples/flower.glb", "--prompt", "a tulip", "--out", str(tmp_path), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", *job],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "memory is used up" in done.stderr and "fix:" in done.stderr and "Traceback" not in done.stderr
