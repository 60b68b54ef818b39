"""Diagnosis: pure rules over one snapshot of a box."""
