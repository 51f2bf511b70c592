"""What is checked on a GPU by `python scripts/gpu_check.py`."""
