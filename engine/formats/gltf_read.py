"""glTF 2.0 (.glb and .gltf) read into parts. numpy and Pillow only.

Reads node transforms, skins and morph targets as they rest, instances (also EXT_mesh_gpu_instancing), triangle lists, strips and fans,
vertex colours and the materials of `engine.formats.gltf_materials`. Leaves out animations, cameras and lights; lines and points are
counted and left out. Still in glTF's axes; `engine.formats.meshio` turns them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.formats.gltf_document import DRACO, MESHOPT, Document, compressed
from engine.formats.gltf_materials import OF_TABLES, Materials
from engine.formats.parts import LARGEST_MESH, Part, corrupt, too_many

MAX_INSTANCES = 100_000
_HARMLESS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "MSFT_texture_", "KHR_lights", "EXT_lights", "KHR_xmp", "KHR_animation")
_WIDTHS = {"POSITION": (3,), "TEXCOORD": (2, 3, 4), "COLOR": (3, 4), "JOINTS": (4,), "WEIGHTS": (4,)}
"""Components of a vertex array; UVs with more than two are those of brushes."""
_OF_LOOK = ("TEXCOORD", "COLOR")
_READ = {"KHR_mesh_quantization", "EXT_mesh_gpu_instancing", "KHR_node_visibility", DRACO, *MESHOPT}


def read_gltf(path: Path, notes: list[str]) -> list[Part]:
    """The triangles of the file's scene. What was left out is added to notes. InputError for anything that cannot be read."""
    document = Document(path)
    try:
        _note_extensions(document, notes)
        return _Scene(document, path.name, notes).parts()
    except (*OF_TABLES, RecursionError) as error:
        raise corrupt(path.name, f"its tables contradict each other ({type(error).__name__}: {error})") from error


def _note_extensions(document: Document, notes: list[str]) -> None:
    """Required extensions of unknown kind get a note: appearance stops no job, and geometry that needs one will not decode."""
    required = set(document.json.get("extensionsRequired", []))
    if required & set(MESHOPT):
        raise compressed(min(required & set(MESHOPT)))
    unknown = sorted(name for name in required - _READ if not name.startswith(_HARMLESS))
    if unknown:
        notes.append(f"The file needs {', '.join(unknown)}, which is not known here; what it adds is left out.")


class _Scene:
    """Walks the scene of one document."""

    def __init__(self, document: Document, name: str, notes: list[str]) -> None:
        self._document = document
        self._name = name
        self._json = document.json
        self._nodes: list[dict[str, Any]] = self._json.get("nodes", [])
        self._materials = Materials(document, notes)
        self._notes = notes
        self._skipped = 0
        self._owners = 0
        self._placed_faces = 0

    def parts(self) -> list[Part]:
        placed = self._placed(self._roots())
        parts: list[Part] = []
        for index, matrix in placed.items():
            node = self._nodes[index]
            if "mesh" in node:
                parts.extend(self._of_node(node, matrix, placed))
        if self._skipped:
            self._notes.append(f"{self._skipped} sets of lines or points were left out: only triangles are read.")
        if self._materials.defaults:
            names = ", ".join(sorted(self._materials.defaults)[:4])
            self._notes.append(f"The colour of material {names} is its application's default: taken as one that nobody chose.")
        return parts

    def _roots(self) -> list[int]:
        scenes = self._json.get("scenes", [])
        if scenes:
            return list(scenes[self._json.get("scene", 0)].get("nodes", []))
        children = {child for node in self._nodes for child in node.get("children", [])}
        return [index for index in range(len(self._nodes)) if index not in children]

    def _placed(self, roots: list[int]) -> dict[int, np.ndarray]:
        """World matrices [4, 4] of the nodes below `roots`, in breadth-first order; hidden ones and what hangs on them are left out."""
        found: dict[int, np.ndarray] = {}
        todo = [(root, np.eye(4)) for root in roots]
        for index, parent in todo:
            if index in found:
                raise ValueError(f"node {index} has two parents")
            node = self._nodes[index]
            if node.get("extensions", {}).get("KHR_node_visibility", {}).get("visible") is False:
                self._note("Hidden objects of the file were left out.")
                continue
            found[index] = parent @ _matrix(node)
            todo.extend((child, found[index]) for child in node.get("children", []))
        return found

    def _of_node(self, node: dict[str, Any], matrix: np.ndarray, placed: dict[int, np.ndarray]) -> list[Part]:
        """The parts of one node, once for each of its instances."""
        mesh = self._json["meshes"][node["mesh"]]
        weights = node.get("weights", mesh.get("weights", []))
        joints = self._joints(node["skin"], placed) if "skin" in node else None
        parts = [self._part(primitive, weights, joints) for primitive in mesh["primitives"]]
        known = [replace(part, object_name=str(node.get("name") or mesh.get("name") or "")) for part in parts if part is not None]
        matrices = [np.eye(4)] if joints is not None else [matrix @ own for own in self._instances(node)]  # a skin ignores its node
        placed_parts = []
        self._placed_faces += len(matrices) * sum(max(len(part.faces), len(part.vertices) // 3) for part in known)
        if self._placed_faces > LARGEST_MESH:  # before they are made: a small file can ask for more than fits
            raise too_many(self._name, self._placed_faces)
        for own in matrices:
            self._owners += 1
            placed_parts.extend(_transformed(part, own, self._owners) for part in known)
        return placed_parts

    def _instances(self, node: dict[str, Any]) -> list[np.ndarray]:
        """The matrices [4, 4] of EXT_mesh_gpu_instancing; the identity without it."""
        extension = node.get("extensions", {}).get("EXT_mesh_gpu_instancing")
        if extension is None:
            return [np.eye(4)]
        arrays = {name: self._document.accessor(index, normalize=name == "ROTATION") for name, index in extension["attributes"].items()}
        arrays = {name.lower(): values for name, values in arrays.items() if name in ("TRANSLATION", "ROTATION", "SCALE")}
        count = min((len(values) for values in arrays.values()), default=0)
        if count > MAX_INSTANCES:
            raise InputError(
                "file_too_large", f"The file scatters one mesh {count} times; at most {MAX_INSTANCES} are read.", "Make fewer."
            )
        return [_matrix({name: values[index] for name, values in arrays.items()}) for index in range(count)]

    def _joints(self, index: int, placed: dict[int, np.ndarray]) -> np.ndarray:
        """Joint matrices [J, 4, 4] of a skin, as its skeleton rests."""
        skin = self._json["skins"][index]
        missing = [joint for joint in skin["joints"] if joint not in placed]
        if missing:  # joints outside of the scene: they still have a place
            placed = {**self._placed([root for root in range(len(self._nodes)) if root not in self._children()]), **placed}
        world = np.stack([placed[joint] for joint in skin["joints"]])
        if "inverseBindMatrices" not in skin:
            return world
        return (
            world
            @ self._document.accessor(skin["inverseBindMatrices"]).astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)[: len(world)]
        )

    def _children(self) -> set[int]:
        return {child for node in self._nodes for child in node.get("children", [])}

    def _part(self, primitive: dict[str, Any], morphs: list[float], joints: np.ndarray | None) -> Part | None:
        """One primitive in its node's space, or in the scene's where it has a skin; None where it has no triangles."""
        mode = primitive.get("mode", 4)
        if mode < 4 or "POSITION" not in primitive["attributes"]:
            self._skipped += 1
            return None
        arrays = self._arrays(primitive)
        vertices = arrays["POSITION"].astype(np.float64)
        for weight, target in zip(morphs, primitive.get("targets", []), strict=False):
            if weight and "POSITION" in target:
                vertices = vertices + weight * self._vertex_array("POSITION", target["POSITION"], len(vertices)).astype(np.float64)
        if joints is not None:
            vertices = _skinned(vertices, arrays, joints)
        indices = arrays["indices"].reshape(-1).astype(np.int64) if "indices" in arrays else np.arange(len(vertices), dtype=np.int64)
        faces = _triangles(indices, mode)
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise ValueError(f"a face refers to vertex {faces.max()} of {len(vertices)}")
        uvs = None
        if "TEXCOORD_0" in arrays:
            uvs = arrays["TEXCOORD_0"][:, :2].astype(np.float32)
            uvs = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=-1)
        material = primitive.get("material")
        name = "" if material is None else self._materials.name(material)
        appearance = self._materials.of(material, arrays)
        return Part(0, vertices, faces, appearance, uvs, -1 if material is None else material, material_name=name)

    def _arrays(self, primitive: dict[str, Any]) -> dict[str, np.ndarray]:
        """The vertex arrays of a primitive by attribute, and its "indices"."""
        arrays = {
            name: values if name == "indices" else _checked(name, values)
            for name, values in (self._document.draco(primitive) or {}).items()
        }
        attributes = primitive["attributes"]
        if "indices" not in arrays and "indices" in primitive:
            arrays["indices"] = self._document.accessor(primitive["indices"])
        if "POSITION" not in arrays:
            arrays["POSITION"] = self._vertex_array("POSITION", attributes["POSITION"])
        for name, index in attributes.items():
            kind = name.partition("_")[0]
            if name in arrays or kind not in _WIDTHS or (kind == "COLOR" and name != "COLOR_0"):
                continue
            try:
                arrays[name] = self._vertex_array(name, index, len(arrays["POSITION"]))
            except (*OF_TABLES, InputError) as error:
                if kind not in _OF_LOOK:
                    raise
                self._note(
                    f"{name} of a mesh could not be read ({error}); its {'layout' if kind == 'TEXCOORD' else 'colours'} are left out."
                )
        return arrays

    def _vertex_array(self, name: str, index: int, count: int | None = None) -> np.ndarray:
        """One vertex array of the file, checked."""
        return _checked(name, self._document.accessor(index, normalize=name.startswith("COLOR")), count)

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)


def _checked(name: str, values: np.ndarray, count: int | None = None) -> np.ndarray:
    """The values of a vertex array [V, W]; ValueError where it has another width than its name says, or is not for `count` vertices."""
    widths = _WIDTHS.get(name.partition("_")[0], values.shape[1:])
    if values.shape[1] not in widths or len(values) != (len(values) if count is None else count):
        raise ValueError(f"{name} is {list(values.shape)}, expected [{'V' if count is None else count}, {widths[0]}]")
    return values


def _transformed(part: Part, matrix: np.ndarray, owner: int) -> Part:
    """A copy of the part under a transform [4, 4]."""
    if np.array_equal(matrix, np.eye(4)):
        return replace(part, owner=owner)
    faces = part.faces[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else part.faces  # a mirror turns triangles inside out
    return replace(part, owner=owner, vertices=part.vertices @ matrix[:3, :3].T + matrix[:3, 3], faces=faces)


def _skinned(vertices: np.ndarray, arrays: dict[str, np.ndarray], joints: np.ndarray) -> np.ndarray:
    """Vertices [V, 3] moved by the weighted sum of their joints' matrices (linear blend skinning)."""
    total, weight_sum = np.zeros((len(vertices), 4, 4)), np.zeros(len(vertices))
    for number in range(8):
        if f"JOINTS_{number}" not in arrays or f"WEIGHTS_{number}" not in arrays:
            break
        influence, weights = arrays[f"JOINTS_{number}"].astype(np.int64), arrays[f"WEIGHTS_{number}"]
        if weights.dtype.kind in "iu":
            weights = weights / np.iinfo(weights.dtype).max
        for column in range(influence.shape[1]):
            total += weights[:, column, None, None] * joints[influence[:, column]]
            weight_sum += weights[:, column]
    free = weight_sum < 1e-6
    total[free], weight_sum[free] = np.eye(4), 1.0
    total /= weight_sum[:, None, None]
    return np.einsum("vij,vj->vi", total[:, :3, :3], vertices) + total[:, :3, 3]


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """A node's own transform [4, 4], column vectors."""
    if "matrix" in node:
        return np.asarray(node["matrix"], dtype=np.float64).reshape(4, 4).T
    turn = np.asarray(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64)
    x, y, z, w = turn / (np.linalg.norm(turn) or 1.0)  # of bytes or rounded decimals it is not quite one, which would shear
    rotation = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.asarray(node.get("scale", (1, 1, 1)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    """[F, 3] from a list (4), a strip (5) or a fan (6)."""
    if mode not in (4, 5, 6):
        raise ValueError(f"there is no primitive of mode {mode}")
    if mode == 4:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    if len(indices) < 3:
        return np.zeros((0, 3), dtype=np.int64)
    if mode == 6:
        return np.stack([np.full(len(indices) - 2, indices[0]), indices[1:-1], indices[2:]], axis=-1)
    faces = np.stack([indices[:-2], indices[1:-1], indices[2:]], axis=-1)
    faces[1::2] = faces[1::2, [1, 0, 2]]
    return faces
