"""Listeners who repeat tracks and sequences of tracks over long histories. Start at `world`."""
