"""Scenes that several test folders play in."""
