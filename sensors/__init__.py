"""Dagster sensors: what is pending is decided by pure functions, and asked for again until it is done."""
