"""Bytes and text from and to meaning; no I/O."""
