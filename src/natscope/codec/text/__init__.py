"""Saved listings: what conntrack(8) and /proc print, read back.

Every line says by itself what it is, so formats are recognised line by line
and a file may hold several.
"""

from natscope.codec.text.listing import Reader, parse_listing

__all__ = ["Reader", "parse_listing"]
