"""The kinds of things that the generator can make, by family; each a function of a workbench."""

from __future__ import annotations

from collections.abc import Callable

from scripts.prior.data.kinds import (
    animals,
    buildings,
    flowers,
    fruit,
    furniture,
    household,
    plants,
    toys,
    vehicles,
    vessels,
)
from scripts.prior.data.workbench import Subject, Workbench

Kind = Callable[[Workbench], Subject]

_FAMILIES = (
    flowers,
    plants,
    fruit,
    vessels,
    furniture,
    buildings,
    vehicles,
    household,
    toys,
    animals,
)

KINDS: dict[str, Kind] = {kind.__name__: kind for family in _FAMILIES for kind in family.KINDS}
"""By name, in a fixed order."""
