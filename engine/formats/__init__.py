"""Files in and out: readers, writers, and what all of them share. No torch. Importing the package itself needs nothing at all."""

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
"""Types of mesh files that `engine.formats.meshio.load_mesh` reads, the best supported first."""
