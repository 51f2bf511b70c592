"""What runs in Blender's Python."""
