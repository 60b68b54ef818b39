"""Flows as columns, and what is said of them in columns."""
