"""Code that trainer and service share, because both must agree on it. This file imports nothing on purpose."""
