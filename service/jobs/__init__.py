"""The job life cycle: states, submission to Ray, reconciliation."""
