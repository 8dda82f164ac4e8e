"""A dataset version through a trained model: shards of samples, shared by workers, each written once."""
