"""Faster retrieval for large catalogues: int8 search, the cluster index, and the selection between them."""
