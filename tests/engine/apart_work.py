"""Work for the tests of processes of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from engine.reporting import OnStep


def doubled(inputs: dict[str, np.ndarray], on_step: OnStep) -> dict[str, np.ndarray]:
    for done in range(4):
        on_step(done, 4)
        time.sleep(0.1)
    print("this goes nowhere")
    os.write(1, b"nor does this")
    return {"doubled": 2 * inputs["values"], "process": np.array(os.getpid())}


def failing(inputs: dict[str, np.ndarray], on_step: OnStep) -> dict[str, np.ndarray]:
    raise ValueError("as asked")


def sleeping(inputs: dict[str, np.ndarray], on_step: OnStep) -> dict[str, np.ndarray]:
    Path(str(inputs["word"])).write_text(str(os.getpid()))
    time.sleep(60)
    return {}
