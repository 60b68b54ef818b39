"""One filter for everything: ``parse`` its words, apply it in three ways.

The words follow pcap-filter(7); ``docs/reference/filters`` is the language.
Parsing needs no NumPy.
"""

from natscope.filter.compiled import Filter, is_word, parse
from natscope.model.prefilter import KernelFilter, KernelTuple

__all__ = ["Filter", "KernelFilter", "KernelTuple", "is_word", "parse"]
