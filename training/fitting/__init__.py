"""From sequences to a trained network: batches, losses, the optimiser, the loop, processes, what is chosen afterwards."""
