"""`scripts/gpu_check.py` tried on the CPU: what it runs, what it writes, and what it says where there is no GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.device import reason
from scripts.bench.gpu import check
from scripts.bench.gpu.parity import Row, parity

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_parity_of_the_cpu_with_itself():
    """Every row is there, and good; in half precision the embedded prior's direction is still its own."""
    rows = parity(torch.device("cpu"))
    assert len(rows) == 18 and all(row.passed for row in rows), [row.line() for row in rows if not row.passed]


def test_a_row_that_is_no_number_is_not_good():
    assert Row("a", 0.5, 0.4).passed and not Row("a", 0.5, 0.6).passed and Row("a", 0.5, 0.6, least=False).passed
    for least in (True, False):
        assert not Row("a", float("nan"), 0.5, least).passed and "**NO**" in Row("a", float("nan"), 0.5, least).line()


@pytest.mark.slow
def test_the_whole_check_on_the_cpu_writes_its_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "parity", lambda device: [Row("few", 1.0, 0.9)])
    document = tmp_path / "gpu.md"
    document.write_text(f"before\n{check.BEGIN}\nold\n{check.END}\nafter\n")
    assert check.main(["--device", "cpu", "--out", str(document)]) == 0
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    for words in ("refine job", "texture job", "embedded prior, 2 views", "tiny random weights", "On the CPU", "| few |"):
        assert words in text, words
    (row,) = [line for line in text.splitlines() if line.startswith("| tiny random")]
    assert len(row.split("|")) == 8 and "GiB" in row  # times, ratio, memory, waits: a measurement, no error
    assert "All is good" in capsys.readouterr().out


def test_a_bad_row_is_told_by_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(check, "parity", lambda device: [Row("bad", 0.1, 0.9)])
    monkeypatch.setattr(check, "jobs", lambda device, quick: [])
    monkeypatch.setattr(check, "times", lambda device, quick: [])
    assert check.main(["--device", "cpu"]) == 1 and "not good" in capsys.readouterr().out


def test_memory_that_is_lacking_is_a_row_and_not_the_end():
    def fails():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    assert check.fitting(fails) == "The GPU's memory is used up."


def test_the_projects_own_document_can_be_written():
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert "| a | 1 |" in check.written(text, ["| a | 1 |"])
    with pytest.raises(ValueError, match="no lines"):
        check.written("nothing", [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_why():
    done = subprocess.run([sys.executable, "scripts/gpu_check.py"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and "No GPU can be checked here" in done.stdout and "fix:" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("build", "seen", "said", "words"),
    [
        (None, True, "", ("has an NVIDIA driver", "without CUDA", "CUDA build of torch")),
        (None, False, "", ("without CUDA", "no NVIDIA driver", "ssh")),
        ("12.8", True, "The NVIDIA driver on your system is too old (found version 11040)", ("too old", "12.8", "Update the driver")),
        ("12.8", False, "Found no NVIDIA driver on your system", ("no NVIDIA driver", "Install the NVIDIA driver")),
        ("12.8", True, "CUDA unknown error\nmore", ("does not start", "CUDA unknown error", "nvidia-smi")),
        ("12.8", True, "", ("does not start", "CUDA_VISIBLE_DEVICES")),
    ],
)
def test_why_there_is_no_gpu(build, seen, said, words):
    told = " ".join(reason(build, seen, said))
    assert all(word in told for word in words), told
