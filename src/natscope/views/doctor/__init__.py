"""Diagnosis: pure rules over one snapshot of a box.

What they may look at is ``snapshot``; they are in ``rules``, what they read it with in
``reading``, the words of their remedies in ``remedies``.
"""
