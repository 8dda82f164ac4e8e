"""What service and workers say to each other: requests, object keys, tables and the object store.

Importing it is cheap: no torch, no ray.
"""
