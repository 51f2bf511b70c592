"""What holds for every file of the project: links lead somewhere, no stray paths of somebody's machine, no heavy files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".md", ".toml", ".txt", ".sh", ".yml", ".yaml", ".json", ".cfg", ""}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:work|home/\w+|root|Users/\w+|opt/(?:wheels|pypi))/")
LARGEST_FILE = 50_000_000


def tracked() -> list[Path]:
    """The files that belong to the project, as git lists them."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_links_in_the_documents_lead_to_files():
    documents = [path for path in tracked() if path.suffix == ".md"]
    broken = []
    for document in documents:
        for target in LINK.findall(document.read_text(encoding="utf-8")):
            plain = target.split("#")[0]
            if plain and "://" not in target and not target.startswith("mailto:") and not (document.parent / plain).exists():
                broken.append(f"{document.relative_to(ROOT)} -> {target}")
    assert not broken, "\n".join(broken)


def test_no_file_names_a_place_on_somebody_s_machine():
    found = []
    for path in tracked():
        if path.suffix in TEXT and path.stat().st_size < 1_000_000 and path != Path(__file__).resolve():
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if MACHINE_PATH.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def test_no_file_is_too_large_for_the_repository():
    large = [f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes" for path in tracked() if path.stat().st_size > LARGEST_FILE]
    assert not large, "\n".join(large)


def test_ci_runs_the_tests():
    assert re.search(r"^exec python3 scripts/test\.py$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
