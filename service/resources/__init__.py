"""What the API takes and answers, as models that need nothing but pydantic: server and client share them."""
