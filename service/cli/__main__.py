"""`python -m service.cli`: the `dale` command, where it is not on the path."""

from service.cli import app

app()
