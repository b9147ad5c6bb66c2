"""A log posted to the running service, and its answers held against the trainer's."""
