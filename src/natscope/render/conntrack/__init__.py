"""Flows, expectations and counters as conntrack(8) prints them.

``forms`` says what a line is made of, once; ``line`` writes one flow by it, and
``lines`` thousands at a time.
"""
