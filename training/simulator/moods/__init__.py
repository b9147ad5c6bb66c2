"""Listeners with tastes and moods, and short histories. Start at `world`."""
