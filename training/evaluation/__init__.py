"""Measures rankers: cases, metrics, baselines, and how a model responds to a skip."""
