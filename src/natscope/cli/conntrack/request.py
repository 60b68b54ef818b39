"""What a command line of conntrack(8) asks for."""

from __future__ import annotations

from natscope import uapi
from natscope.errors import NatscopeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from natscope.codec.scalar import Cells
    from natscope.model.labelmap import LabelMap

    Spans = tuple[tuple[int, int], ...]
    """Numbers as ranges, both ends included."""
    Nat = tuple[bytes | None, bytes | None, Spans | None]
    """An address, the mask of a network, and ports; None is any."""

FILTERING = frozenset({"list", "delete", "update", "event"})
"""Commands whose options say which flows are meant, not what one shall be."""


class CommandLineError(NatscopeError):
    """A command line conntrack refuses.

    ``str()`` is what stands after the program's name and version.  ``code`` is
    the exit code: 2 for what usage explains (``try_help``: the line that points
    there follows), 1 for the rest.  ``warnings`` had been said before.
    """

    def __init__(
        self,
        message: str,
        code: int = 2,
        *,
        try_help: bool | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.try_help = code == 2 if try_help is None else try_help
        self.warnings = warnings


class Request:
    """One command with its options, checked.

    Addresses and masks are packed, 4 or 16 bytes; names of cells are those of
    ``table.columns``.
    """

    __slots__ = (
        "any_nat",
        "buffer_size",
        "cells",
        "command",
        "dnat",
        "event_mask",
        "expected",
        "family",
        "given",
        "label_add",
        "label_del",
        "label_names",
        "labelmap",
        "labels",
        "mark",
        "mask",
        "networks",
        "output",
        "protocol",
        "snat",
        "spans",
        "states",
        "status_clear",
        "status_set",
        "table",
        "warnings",
        "zero",
    )

    def __init__(self) -> None:
        self.command = ""
        """list get delete create add update event flush count stats version help,
        or none at all, which shows the usage."""
        self.table = "conntrack"
        """conntrack expect dying unconfirmed."""
        self.family = uapi.AF_UNSPEC
        """Said or implied by an address; AF_INET for commands that need one."""
        self.given: frozenset[str] = frozenset()
        """Every option given, by the name messages use: src, protonum, sport."""
        self.cells: Cells = {}
        """The flow the options describe, as far as single values do; of an
        expectation, its master."""
        self.networks: dict[str, tuple[bytes, bytes]] = {}
        """Column to (network, mask), in place of the cell; the mask may have
        holes.  Bits outside it are zero."""
        self.spans: dict[str, Spans] = {}
        """Column to several numbers or a range, in place of the cell."""
        self.states: tuple[str, ...] = ()
        """Names of protocol states; a single one is a cell as well."""
        self.mark: tuple[int, int] | None = None
        """(value, mask): to match, or to set."""
        self.status_set = 0
        """Status bits that are set, or shall be."""
        self.status_clear = 0
        """Status bits that are clear."""
        self.snat: Nat | None = None
        self.dnat: Nat | None = None
        self.any_nat: Nat | None = None
        """Source, destination, either translation: (None, None, None) is any."""
        self.labels: tuple[str, ...] = ()
        """Names of labels a flow has, all of them."""
        self.label_add: tuple[str, ...] = ()
        self.label_del: tuple[str, ...] | None = None
        """Names of labels to take away; empty is all."""
        self.labelmap: str | None = None
        self.label_names: LabelMap | None = None
        """What the file of labels says, once it has been read."""
        """Path of another connlabel.conf."""
        self.output: frozenset[str] = frozenset()
        """xml extended timestamp id ktimestamp labels userspace save json."""
        self.event_mask: int | None = None
        """EVENT_NEW, EVENT_UPDATE, EVENT_DESTROY; None: all, none was named."""
        self.buffer_size: int | None = None
        """Bytes of the event socket's receive buffer."""
        self.zero = False
        """Set the counters to zero while listing."""
        self.expected: Cells = {}
        """The tuple an expectation waits for, as an original one."""
        self.mask: Cells = {}
        """Its mask."""
        self.protocol: str | None = None
        """The protocol as conntrack names it: ``unknown`` where it has no options
        for it.  The number is the cell ``proto``."""
        self.warnings: tuple[str, ...] = ()
        """Lines for standard error, before anything is done."""

    @property
    def title(self) -> str:
        """The command, and the table where it is that of expectations."""
        return f"{self.command} expect" if self.table == "expect" else self.command

    @property
    def filters(self) -> bool:
        """Whether the options say which flows are meant."""
        return self.command in FILTERING and self.table != "expect"


EVENT_NEW, EVENT_UPDATE, EVENT_DESTROY = 1, 2, 4
"""Kinds of events, as conntrack's own mask numbers them."""
