"""How entries are to look: what ``-o`` asks for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from natscope.model.labelmap import LabelMap


class Style:
    """The words of ``-o``, and the time it is.

    Args:
        format: ``plain`` lines, ``save`` (the options that make the entry
            again) or ``xml``.
        extended: with the network protocol in front.
        id: with the kernel's id; XML has it always.
        ktimestamp: with the start and, of an event, the stop of the flow.
        labels: the names of labels to show; None shows none.
        timestamp: the time of an event, before it or in ``<when>``.
        now_s: seconds since 1970, for ``delta-time`` of flows that live.
    """

    __slots__ = (
        "extended",
        "format",
        "id",
        "ktimestamp",
        "labels",
        "now_s",
        "timestamp",
    )

    def __init__(
        self,
        *,
        format: str = "plain",
        extended: bool = False,
        id: bool = False,
        ktimestamp: bool = False,
        labels: LabelMap | None = None,
        timestamp: bool = False,
        now_s: int = 0,
    ) -> None:
        self.format = format
        self.extended = extended
        self.id = id
        self.ktimestamp = ktimestamp
        self.labels = labels
        self.timestamp = timestamp
        self.now_s = now_s
