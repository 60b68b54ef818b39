"""A file that holds flows, whatever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscope.sources.bundleflows import BundleFlows, is_bundle
from natscope.sources.files import Listing
from natscope.sources.recordingfiles import is_recording

if TYPE_CHECKING:
    from natscope.sources.base import Source


def opened(path: str, *, strict: bool = False, at_ns: int | None = None) -> Source:
    """The flows of a recording, a bundle or a listing.

    Args:
        path: of the file; ``-`` is stdin, of a bundle or a listing.
        strict: of a listing, raise the first line that cannot be read.
        at_ns: of a recording, the moment asked about; None: its end.

    Raises:
        NatscopeError: it is a bundle that cannot be read, or has no flows.
    """
    if is_recording(path):
        from natscope.sources.recording import Recording

        return Recording(path, at_ns=at_ns)
    if is_bundle(path):
        from natscope.sources.bundle import load

        return BundleFlows(load(path), path)
    return Listing(path, strict=strict)
