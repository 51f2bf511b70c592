"""The test runner itself: counts, totals, groups that crash, hang or run nothing. Its groups here are real pytest processes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.setup import bootstrap
from scripts.setup import run_tests as runner
from scripts.setup.bootstrap import ENVIRONMENTS


class ThisPython:
    """An environment that is the one these tests run in."""

    name = "this"
    python = sys.executable


def outcome_of(folder: Path, text: str, limit: float = 60, *arguments: str):
    """Run a test file's text as a group."""
    file = folder / "test_sample.py"
    file.write_text(text)
    group = runner.Group(
        "sample", ThisPython(), ("-p", "no:cacheprovider", "--rootdir", str(folder), "-c", "/dev/null", *arguments, str(file))
    )
    return runner.run_group(group, folder / "report.xml", limit, runner.Screen())


def test_counts_come_from_the_tests_themselves(tmp_path):
    text = "import pytest\ndef test_a(): pass\ndef test_b(): pass\ndef test_c(): assert 0\n@pytest.mark.skip\ndef test_d(): pass\n"
    text += "@pytest.fixture\ndef sick(): raise OSError\ndef test_e(sick): pass\n"
    outcome = outcome_of(tmp_path, text)
    assert (outcome.passed, outcome.failed, outcome.skipped) == (2, 2, 1)
    assert not outcome.good
    assert [name.split("::")[1] for name in outcome.failures] == ["test_c", "test_e"]


def test_a_test_that_passes_and_breaks_in_teardown_counts_once_as_failed(tmp_path):
    text = "import pytest\n@pytest.fixture\ndef sick():\n    yield\n    raise OSError\ndef test_a(sick): pass\ndef test_b(): pass\n"
    outcome = outcome_of(tmp_path, text)
    assert (outcome.passed, outcome.failed) == (1, 1)


def test_nothing_collected_is_a_failure(tmp_path):
    outcome = outcome_of(tmp_path, "x = 1\n")
    assert outcome.failed == 1 and "no test was collected" in outcome.trouble


def test_a_crash_after_the_tests_is_a_failure(tmp_path):
    outcome = outcome_of(tmp_path, "import atexit, os\natexit.register(lambda: os._exit(139))\ndef test_a(): pass\n")
    assert (outcome.passed, outcome.failed) == (1, 1) and "139" in outcome.trouble


def test_a_crash_in_the_middle_is_a_failure(tmp_path):
    outcome = outcome_of(tmp_path, "import os\ndef test_a(): os.abort()\n")
    assert outcome.failed == 1 and "no report" in outcome.trouble


def test_a_group_that_hangs_is_killed_with_what_it_started(tmp_path):
    text = "import subprocess, sys, time\ndef test_a():\n"
    text += "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n    time.sleep(300)\n"
    outcome = outcome_of(tmp_path, text, 3)
    assert outcome.seconds < 60 and outcome.failed == 1 and "time limit" in outcome.trouble


def test_each_group_has_a_blender_folder_of_its_own_one_thread_and_the_engine(tmp_path):
    text = "import os\ndef test_a():\n"
    text += "    assert os.listdir(os.environ['BLENDER_USER_RESOURCES']) == []\n    assert os.environ['OMP_NUM_THREADS'] == '1'\n"
    text += f"    assert os.environ['SKETCHBRIDGE_ENGINE'] == {bootstrap.engine_command()!r}\n"
    assert outcome_of(tmp_path, text).good


def test_the_last_line_is_the_total(tmp_path):
    one = runner.Outcome("one", 3, 0, 1, 2.0)
    two = replace(one, name="two", passed=4, failed=1, trouble="it hung")
    lines = runner.summary([one, two]).splitlines()
    assert lines[-1] == "7 passed, 1 failed, 2 skipped"
    assert "FAILED two: it hung" in lines


def test_everything_is_three_blenders_and_the_engine_fast_first():
    chosen = runner.groups(True, ("5.0", "4.5", "4.2"), False)
    assert [group.name for group in chosen] == [
        "fast",
        "slow, engine",
        "slow, around it",
        "Blender 5.0",
        "Blender 4.5",
        "Blender 4.2",
        "renders",
    ]
    assert [group.environment for group in chosen[3:6]] == [ENVIRONMENTS[f"blender-{version}"] for version in ("5.0", "4.5", "4.2")]
    assert [group.name for group in runner.groups(True, ("5.0",), True)] == ["fast"]
    assert [group.name for group in runner.groups(False, ("4.2",), False)] == ["Blender 4.2"]
    assert runner.groups(True, ("5.3", "5.2"), False)[-1].environment is ENVIRONMENTS["blender-5.3"]
    assert [group.name for group in runner.groups(True, (), False)] == ["fast", "slow, engine", "slow, around it"]
    assert [group.name for group in runner.long_groups()][:1] == ["long"]


def test_unknown_blender_is_a_usage_error():
    with pytest.raises(SystemExit) as caught:
        runner.main(["--addon", "1.0"])
    assert caught.value.code == 2
