"""Trains, exports and measures the prior that ships."""
