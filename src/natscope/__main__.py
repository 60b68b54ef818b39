"""``python -m natscope``."""

from natscope.cli import entry

entry()
