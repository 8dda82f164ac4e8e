"""What is said of trained models: stages, cards, lineage, comparisons."""
