"""What the trainer and the service must agree on; this file imports nothing on purpose."""
