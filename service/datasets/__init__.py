"""Uploads: reading archives, checking every file, writing versions."""
