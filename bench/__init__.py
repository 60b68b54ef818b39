"""Benchmarks against the peers, in namespaces of their own: ``make bench``."""
