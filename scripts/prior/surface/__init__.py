"""Teaches the prior that sees the surface which it paints."""
