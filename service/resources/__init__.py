"""What the API takes and gives, as pydantic models: all that a client needs to know of the service."""
