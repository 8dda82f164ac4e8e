"""Endpoints, thin: parse, call, answer."""
