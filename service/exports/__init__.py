"""A job's samples as files that other tools open, and what people decided there, back again."""
