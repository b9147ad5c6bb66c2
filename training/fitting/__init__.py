"""From sequences to a trained network: batches, losses, optimiser, training loop, processes, and choices after training."""
