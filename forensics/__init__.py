"""Reusable parts without a `main`: plain objects in, plain objects out. Nothing here imports a script of the root."""
