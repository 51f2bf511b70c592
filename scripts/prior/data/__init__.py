"""The pictures that the prior learns from: kinds of things, studio, captions, degradations."""
