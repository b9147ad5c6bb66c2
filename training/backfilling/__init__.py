"""Fills a running service with what a log knows of its listeners."""
