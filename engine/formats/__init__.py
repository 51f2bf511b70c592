"""Files in and out: readers, writers, and what all of them share. No torch. Importing the package itself needs nothing at all."""

UP_AXES = {".glb": "y", ".gltf": "y", ".obj": "y", ".ply": "z", ".stl": "z"}
"""Types of mesh files that `engine.formats.meshio.load_mesh` reads, the best supported first, and the axis that points up in them: those
that Blender's importers assume."""

SUFFIXES = tuple(UP_AXES)
