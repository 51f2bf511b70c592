"""Who may import whom, and that light commands stay light; each proved in a process of its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "warp", "diffusers", "transformers", "igl", "xatlas", "scipy", "trimesh")


def loaded_after(code: str) -> set[str]:
    """Which heavy modules a fresh interpreter holds after running `code`."""
    report = f"\nimport sys; print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("LOADED", 1)[1].split())


def imported_by(folder: str) -> dict[str, set[str]]:
    """File -> the top-level names and the engine's modules that it imports anywhere, by its syntax tree."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module)
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
        found[str(path.relative_to(ROOT))] = names
    return found


@pytest.mark.parametrize(
    "module",
    ["engine.protocol", "engine.job_fields", "engine.guidance.methods", "engine.errors", "engine.mesh", "engine.reporting", "engine.words"],
)
def test_light_modules_load_nothing_heavy(module):
    assert loaded_after(f"import {module}") == set()


@pytest.mark.parametrize("module", ["engine.formats", "engine.formats.meshio", "engine.formats.gltf_write", "engine.conventions"])
def test_reading_and_writing_files_loads_nothing_heavy(module):
    assert loaded_after(f"import {module}") == set()


def test_a_mesh_comes_and_goes_without_torch(tmp_path):
    code = "from engine.formats.meshio import load_mesh, save_glb\n"
    code += f"save_glb({str(tmp_path / 'a.glb')!r}, load_mesh('examples/flower.glb'))\n"
    code += f"open({str(tmp_path / 'a.obj')!r}, 'w').write('v 0 0 0\\nv 1 0 0\\nv 0 1 0\\nf 1 2 3')\nload_mesh({str(tmp_path / 'a.obj')!r})"
    assert loaded_after(code) == set()


def test_the_command_line_answers_for_help_without_loading_torch():
    code = "import contextlib, io, engine.cli\nwith contextlib.redirect_stdout(io.StringIO()):\n"
    code += "    try: engine.cli.main(['--help'])\n    except SystemExit as end: assert not end.code, end.code"
    assert loaded_after(code) == set()


def test_the_job_loads_its_heavy_parts_only_when_it_runs():
    assert loaded_after("import engine.job") <= {"torch", "scipy"}


def modules_of(folder: str) -> dict[str, Path]:
    """Dotted name -> file of every module under a folder of the project."""
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def only_for_types(tree: ast.AST) -> set[ast.AST]:
    """The nodes under `if TYPE_CHECKING:`, which no interpreter runs."""
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return {inner for guard in guards for statement in guard.body for inner in ast.walk(statement)}


def imports_among(known: dict[str, Path], name: str) -> set[str]:
    """The known modules that a module imports, at its top or inside a function, absolutely or relatively."""
    tree = ast.parse(known[name].read_text(encoding="utf-8"))
    skipped = only_for_types(tree)
    package = name if known[name].name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{base}.{alias.name}" for alias in node.names}
            found.update(inner & known.keys())
            if not inner <= known.keys():
                found.add(base)
    return (found & known.keys()) - {name}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected groups of more than one module (Tarjan 1972): each is a circle of imports."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph[name]:
            if other not in order:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            group = [stack.pop()]
            while group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return found


@pytest.mark.parametrize("folder", ["engine", "addon"])
def test_no_circle_of_imports(folder):
    """Imports inside functions count: a circle that is only late is a circle. None is argued for, so there is no list of exceptions."""
    known = modules_of(folder)
    graph = {name: imports_among(known, name) for name in known}
    assert sum(map(len, graph.values())) > len(graph)  # the arrows are seen at all
    assert circles(graph) == []


def test_a_circle_would_be_seen():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(graph) == [["b", "c"]]


def test_the_engine_never_imports_blender_or_the_addon():
    assert len(imported_by("engine")) > 20
    offending = {
        file: names for file, names in imported_by("engine").items() if any(name.split(".")[0] in ("bpy", "addon") for name in names)
    }
    assert not offending


def test_the_addon_imports_nothing_but_blender_numpy_and_the_standard_library():
    allowed = {
        *sys.stdlib_module_names,
        "numpy",
        "bpy",
        "bmesh",
        "mathutils",
        "bpy_extras",
        "gpu",
        "addon_utils",
        "idprop",
        "bl_operators",
        "bl_ui",
    }
    files = imported_by("addon")
    assert len(files) > 5
    offending = {file: {name for name in names if name.split(".")[0] not in allowed} for file, names in files.items()}
    assert not {file: names for file, names in offending.items() if names}


SHARED = [
    "dream_fields.py", "errors.py", "fields.py", "files.py", "job_fields.py", "messages.py", "protocol.py", "setup_commands.py",
    "setup_environment.py", "setup_pythons.py", "stages.py", "surface_samples.py", "texture_sets.py", "vocabulary.py", "words.py",
]  # fmt: skip
OF_ARRAYS = ("messages.py", "protocol.py", "surface_samples.py", "texture_sets.py")
"""What both sides use: files of the engine that are links in the add-on."""


def test_what_both_sides_share_is_one_file_of_the_standard_library():
    links = sorted(path for path in (ROOT / "addon").glob("*.py") if path.is_symlink())
    assert [path.name for path in links] == SHARED
    for path in links:
        assert path.readlink().parts[:2] == ("..", "engine")  # relative, so that any checkout is whole
        imported = {name.split(".")[0] for name in imported_by("addon")[f"addon/{path.name}"]}
        assert imported <= {*sys.stdlib_module_names, *(["numpy"] if path.name in OF_ARRAYS else [])}


def test_every_import_of_this_projects_own_files_has_its_file():
    """A file that was moved leaves no import behind, also in a function or a test that is skipped here."""
    lost = []
    for path in sorted(path for folder in ("engine", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names] if is_room(node.module) else [node.module]
            own = [name for name in names if name.split(".")[0] in ("engine", "scripts", "addon", "tests")]
            lost += [f"{path.relative_to(ROOT)}: {name}" for name in own if not place(name).exists() and not is_file(name)]
    assert lost == []


def place(module: str) -> Path:
    return ROOT / Path(*module.split("."))


def is_file(module: str) -> bool:
    return place(module).with_suffix(".py").is_file()


def is_room(module: str) -> bool:
    """Whether it is a folder that has nothing to import but files."""
    initial = place(module) / "__init__.py"
    return place(module).is_dir() and not (initial.is_file() and "=" in initial.read_text(encoding="utf-8"))


def test_nothing_in_the_engine_prints_on_import():
    code = "import importlib, pkgutil, engine\n"
    code += "for found in pkgutil.walk_packages(engine.__path__, 'engine.'):\n"
    code += "    found.name.endswith('__main__') or importlib.import_module(found.name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""
