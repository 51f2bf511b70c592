"""Whole jobs on a device that is not the host's: no operation and no kernel mixes the two. The device is pretended, see `pretended`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pretended import JOBS

from scripts import ROOT

FEW = ("texture", "refine")
"""Jobs that every run tries; the others take too long for that."""


def asked(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "tests.engine.pretended", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_what_no_gpu_would_take_is_caught():
    found = asked("catches")
    assert len(found) == 6 and all(found.values()), found


@pytest.mark.parametrize("what", [pytest.param(what, marks=pytest.mark.slow if what in FEW else pytest.mark.long) for what in JOBS])
def test_a_whole_job_mixes_no_devices(tmp_path: Path, what: str):
    found = asked(what, str(tmp_path))
    assert found["device"] == "pretended:0" and found["faces"] > 0
    assert found["operations"] > 2000 and found["launches"]["pretended"] > 20, found


@pytest.mark.long
@pytest.mark.parametrize("share", [0.6, 0.97])
def test_where_the_device_fails_the_job_ends_with_a_sentence_and_its_checkpoint(tmp_path: Path, share: float):
    assert asked("texture", str(tmp_path), str(share)) == {"code": "gpu_lost", "checkpoint": True}
