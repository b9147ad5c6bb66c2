"""What a ranker is worth: cases, metrics, baselines, how a model answers to a skip."""
