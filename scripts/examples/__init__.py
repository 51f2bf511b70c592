"""Draws the example sketches and boards, and the pictures of the docs."""
