"""The parts of `deploy/try-cluster`: the compose file, run on one machine without containers."""
