"""Posts a log to a running service and compares its answers with the trainer's."""
