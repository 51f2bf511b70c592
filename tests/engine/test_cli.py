"""The command line as a user meets it: exit codes, messages with a fix, files that are whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.cli import InterruptibleReporter, main
from engine.errors import Cancelled, SketchbridgeError
from engine.formats.meshio import load_mesh
from engine.results import ImageSet, JobResult, write_result
from engine.stages import Stage
from scripts.bench.reliability.tiny import NUMBERS, board, box

ROOT = Path(__file__).resolve().parents[2]
FLOWER = ROOT / "examples" / "flower.glb"
SMALL = [
    "--set",
    "grid=24",
    "--set",
    "colour_grid=16",
    "--set",
    "views=2",
    "--set",
    "supersample=1",
    "--set",
    "fit_steps=2",
    "--set",
    "stage1_steps=2",
    "--set",
    "stage2_steps=2",
    "--faces",
    "800",
    "--texture-size",
    "64",
]


def sketchbridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.cli", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_refine_writes_a_model_a_contact_sheet_and_a_report(tmp_path: Path) -> None:
    done = sketchbridge("refine", str(FLOWER), "--prompt", "a red tulip flower", "--out", str(tmp_path / "out"), *SMALL)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["flower.glb", "flower.json", "flower.png"]
    report = json.loads((tmp_path / "out" / "flower.json").read_text())
    assert report["prompt"] == "a red tulip flower" and report["deviation_mean_percent"] > 0
    assert "deviation from the sketch" in done.stdout and "stage 1" in done.stderr


@pytest.mark.slow
def test_interrupting_ends_with_130_and_leaves_no_half_written_file(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "engine.cli",
        "refine",
        str(FLOWER),
        "--prompt",
        "a tulip",
        "--out",
        str(tmp_path),
        *SMALL,
        "--set",
        "stage1_steps=100000",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("stage 1"):
            break
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130, rest
    assert time.monotonic() - asked < 30
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".checkpoint"] == []


def test_interrupts_are_the_reporters_only_while_it_is_entered() -> None:
    before = signal.getsignal(signal.SIGINT)
    reporter = InterruptibleReporter()
    assert signal.getsignal(signal.SIGINT) is before  # making one changes nothing
    with reporter:
        reporter.progress("fit", 1, 2, None, {})
        os.kill(os.getpid(), signal.SIGINT)
        assert reporter.cancelled()
        with pytest.raises(KeyboardInterrupt):  # the second one ends the process
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ZeroDivisionError), InterruptibleReporter() as another:
        assert not another.cancelled() and 1 / 0
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("stage", [Stage.CHECK, Stage.LOAD])
def test_before_the_work_an_interrupt_ends_it_at_once(stage: Stage) -> None:
    """While a model is loaded nobody asks whether to stop, for seconds."""
    with InterruptibleReporter() as reporter:
        reporter.progress(stage.value, 0, 1, None, {})
        with pytest.raises(Cancelled):
            os.kill(os.getpid(), signal.SIGINT)
        assert reporter.cancelled()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["refine", "nowhere.glb", "--prompt", "a mug", "--out", "OUT"], "nowhere.glb"),
        (["refine", str(FLOWER), "--prompt", "", "--out", "OUT"], "prompt is empty"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", "OUT", "--model", "/no/such/folder"], "/no/such/folder"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", "OUT", "--set", "speed=9"], "speed"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", "OUT", "--set", "views"], "NAME=VALUE"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", "OUT", "--set", "grid=8", "views=2"], "name: --set views=2\n"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", "OUT", "--stage1-steps", "2"], "--set stage1_steps=VALUE"),
        (["dream", "--prompt", "a mug", "--out", "OUT", "--adherence", "0.3"], "--adherence 0.3; did you mean --dream-adherence?\n"),
        (["dream", "--prompt", "a mug", "--out", "OUT", "--set", "dream_steps=3"], "the option --dream-steps"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", "OUT", "--set", "dream_steps=3"], "no override"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", "OUT", "--feathers", "3"], "arguments: --feathers 3\n"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", "OUT", "--adherence", "7"], "Adherence"),
        (["refine", "README.md", "--prompt", "a mug", "--out", "OUT"], ".glb"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", "/proc/nowhere"], "cannot be written"),
        (["refine", str(FLOWER), "--out", "OUT"], "--prompt"),
        (["refine", str(FLOWER), "--prompt", "a mug", "--out", str(FLOWER.parent)], "over the sketch"),
    ],
    ids=[
        "missing file",
        "empty prompt",
        "missing model",
        "unknown override",
        "override without value",
        "two overrides after one --set",
        "an override as an option",
        "an option of another command",
        "a dream's number as an override",
        "a dream's number as an override of a refinement",
        "an option that there is not",
        "adherence",
        "not a mesh",
        "read-only",
        "no prompt",
        "over itself",
    ],
)
def test_bad_input_ends_with_2_and_says_what_to_do(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = sketchbridge(*[str(tmp_path / "out") if argument == "OUT" else argument for argument in arguments])
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/*"))


def test_an_output_folder_that_takes_no_more_bytes_is_said_before_the_work_starts(tmp_path: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
        "from engine.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["refine", str(FLOWER), "--prompt", "a mug", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr and "fix:" in done.stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_file_in_the_place_of_the_output_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = sketchbridge("refine", str(FLOWER), "--prompt", "a mug", "--out", str(tmp_path / "file"))
    assert done.returncode == 2 and "cannot be written" in done.stderr
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.slow
def test_the_doctor_examines_every_part_and_names_what_the_model_knows() -> None:
    done = sketchbridge("doctor")
    assert done.returncode == 0, done.stdout
    for part in ("python", "torch", "rasterizer", "memory", "disk", "model"):
        assert f"] {part}:" in done.stdout
    assert "mushroom" in done.stdout


def test_what_a_reader_left_out_is_told_and_kept_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case, out = ROOT / "tests" / "cases" / "meshes" / "mtl_missing.obj", tmp_path / "out"
    numbers = [word for name, value in NUMBERS.items() for word in ("--set", f"{name}={value}")]
    model = ["--model", str(board(tmp_path / "board"))]
    assert main(["refine", str(case), "--prompt", "a red ball", "--out", str(out), *model, *numbers]) == 0
    notes = json.loads((out / "mtl_missing.json").read_text())["notes"]
    told = capsys.readouterr().err
    (left_out,) = [note for note in notes if ".mtl" in note]
    assert f"note: {left_out}" in told


@pytest.mark.parametrize(("blocked", "whole"), [("a.png", ["a.glb"]), ("a.json", ["a.glb", "a.png"])])
def test_a_failure_between_two_files_of_a_result_names_the_one_that_is_missing(blocked: str, whole: list[str], tmp_path: Path) -> None:
    (tmp_path / blocked).mkdir()
    mesh = box(layout=True)
    result = JobResult(mesh, (ImageSet.whole(mesh, {"albedo": np.full((8, 8, 3), 128, np.uint8)}),), {"mode": "texture"})
    with pytest.raises(SketchbridgeError) as caught:
        write_result(result, mesh, tmp_path, "a")
    assert f"{blocked}' could not be written" in caught.value.message and "Nothing was written there" in caught.value.message
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == whole
    assert np.array_equal(load_mesh(tmp_path / "a.glb").faces, mesh.faces)


def test_help_is_quick_and_needs_no_torch() -> None:
    code = "import sys\nfrom engine.cli import build_parser\nbuild_parser().format_help()\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
