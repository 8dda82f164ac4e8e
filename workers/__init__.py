"""One training run on Ray Train: data, network, loop, checkpoints, artifacts. Knows `dale`, never `service`."""
