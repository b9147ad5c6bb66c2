"""Synthetic listeners whose tastes are known, so that the best possible score is known too. Start at `simulate`."""
