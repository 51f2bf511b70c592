"""The codes of errors: each that is raised is listed with its meaning, each that is listed is raised, and none is made up on the way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from engine.errors import CODES

ROOT = Path(__file__).resolve().parents[2]
TAKES_CODE = {"InputError": 0, "ModelError": 0, "JobError": 0, "SketchbridgeError": 0, "Problem": 0, "Refused": 0, "_fail": 0, "Failed": 1}
"""Call -> place of the code among its arguments."""


def codes() -> Iterator[tuple[str, ast.expr]]:
    """Where, and the expression of the code, of every failure that engine and add-on make."""
    for path in sorted([*(ROOT / "engine").rglob("*.py"), *(ROOT / "addon").glob("*.py")]):
        if path.is_symlink():
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        families = [entry for entry in ast.walk(tree) if isinstance(entry, ast.ClassDef) and entry.name.endswith("Error")]
        inherited = {id(call) for family in families for call in ast.walk(family) if isinstance(call, ast.Call)}
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""
            place = 0 if name == "__init__" and id(call) in inherited and len(call.args) == 3 else TAKES_CODE.get(name)
            if place is not None and len(call.args) > place:
                yield f"{path.relative_to(ROOT)}:{call.lineno}", call.args[place]


def literals(code: ast.expr) -> list[str] | None:
    """The codes that the expression can be; none where it hands on another error's; None where that cannot be told."""
    if isinstance(code, ast.Constant) and isinstance(code.value, str):
        return [code.value]
    if isinstance(code, ast.IfExp):
        either, other = literals(code.body), literals(code.orelse)
        return None if either is None or other is None else [*either, *other]
    handed_on = isinstance(code, ast.Attribute) and code.attr == "code"
    return [] if handed_on or (isinstance(code, ast.Name) and code.id == "code") else None


def test_every_code_is_listed_and_every_listed_code_is_used() -> None:
    used: dict[str, str] = {}
    for where, code in codes():
        told = literals(code)
        assert told is not None, f"{where}: the code is put together; hosts can act on fixed codes only"
        used.update(dict.fromkeys(told, where))
    assert {code: where for code, where in used.items() if code not in CODES} == {}, (
        "list these in engine/errors.py, or use one that is there"
    )
    assert set(CODES) - set(used) == set(), "nobody raises these"
