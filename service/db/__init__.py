"""The service's memory: tables, every query, and migrations."""
