"""HTTP API, web pages, database and job life cycle. Of the workers it knows `workers.contract`, no more."""
