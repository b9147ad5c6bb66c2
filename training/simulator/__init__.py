"""Simulated listeners. Their tastes are known, so the best possible score is known too. Start at `simulate`."""
