"""What a job tells the user is whole sentences: a capital, a digit or a name first, a full stop last."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = {"notes", "_notes", "mended"}


def notes_in(path: Path) -> Iterator[ast.expr]:
    """What is given to `note` of a reporter, or put into a list of notes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 1:
            holder = node.func.value
            called = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
            if node.func.attr == "note" or (node.func.attr == "append" and called in LISTS):
                yield node.args[0]


def ends(node: ast.expr) -> tuple[str, str]:
    """The text's first and last characters, empty where they are filled in when it is said."""
    if isinstance(node, ast.BinOp):
        return ends(node.left)[0], ends(node.right)[1]
    pieces = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [piece.value if isinstance(piece, ast.Constant) else "" for piece in (pieces[0], pieces[-1])]
    return texts[0][:1], texts[1][-1:]


def test_notes_are_sentences() -> None:
    found = {
        path: list(notes_in(path)) for folder in ("engine", "addon") for path in (ROOT / folder).rglob("*.py") if not path.is_symlink()
    }
    said = [(f"{path.name}:{note.lineno}", *ends(note)) for path, notes in found.items() for note in notes]
    assert sum(bool(first or last) for _, first, last in said) > 20
    assert [place for place, first, last in said if first.islower() or last not in ("", ".")] == []
