"""Attacks on the engine, counted: `python -m scripts.bench.reliability`."""
