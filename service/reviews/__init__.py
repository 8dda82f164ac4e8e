"""What people decide about labels, and the next version that comes of it."""
