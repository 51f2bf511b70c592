"""The bench of guidance methods."""
