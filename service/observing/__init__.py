"""Observation for operators: metrics, logs and status."""
