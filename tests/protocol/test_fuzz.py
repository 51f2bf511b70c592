"""20,000 mutated frames each way; `python -m scripts.bench.fuzz_protocol` feeds a million."""

from __future__ import annotations

import pytest

from engine.protocol import Role
from scripts.bench import fuzz_protocol


@pytest.mark.parametrize("role", Role)
def test_mutated_frames_are_understood_or_refused_and_nothing_else(role: Role) -> None:
    tally = fuzz_protocol.fuzz(role, 20_000, seed=1)
    assert tally.faults == [] and tally.frames >= 20_000
    assert tally.outcomes["refused"] > 1000 and tally.outcomes["understood"] > 100  # neither all refused nor hardly spoilt
    assert tally.growth_kb < fuzz_protocol.GROWTH_KB
