"""Files in and out: readers, writers, and what all of them share. No torch. Importing the package itself needs nothing at all."""

UP_OF_TYPE = {".glb": "y", ".gltf": "y", ".obj": "y", ".ply": "z", ".stl": "z"}
"""Types of mesh files that `engine.formats.meshio.load_mesh` reads, the best supported first, and the axis that points up in them: those
that Blender's importers assume."""

SUFFIXES = tuple(UP_OF_TYPE)

UP_AXES = ("x", "y", "z", "negative-x", "negative-y", "negative-z")
"""Axes that may point up in a file; `engine.conventions.world_from_file` turns each."""
