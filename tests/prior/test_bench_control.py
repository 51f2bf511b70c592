"""The judge of the prior under its control: what it compares is what it says."""

from __future__ import annotations

import numpy as np
import torch

from engine.render.control import MASK
from scripts.prior.bench_control import Views, on_true_ground


def test_subjects_are_put_before_the_true_grounds():
    control = torch.zeros(1, 5, 2, 2)
    control[0, MASK] = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    truth, drawn = np.full((1, 2, 2, 3), 100, np.uint8), np.full((1, 2, 2, 3), 200, np.uint8)
    assert on_true_ground(drawn, Views(["a mug"], [], control, truth))[0, :, :, 0].tolist() == [[200, 100], [150, 100]]
