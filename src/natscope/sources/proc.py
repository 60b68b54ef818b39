"""/proc/net/nf_conntrack: the table as text, for kernels without ctnetlink."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.errors import MissingTool
from natscope.model.evidence import Evidence
from natscope.sources import box
from natscope.sources.files import Listing

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.table.flowtable import FlowTable

PATH = Path("/proc/thread-self/net/nf_conntrack")


class ProcTable(Listing):
    """The live table of this thread's namespace, as /proc prints it."""

    def __init__(self, path: Path = PATH, *, strict: bool = False) -> None:
        super().__init__(path, strict=strict)
        self._path = path

    def chunks(self, filter: Filter | str | None = None) -> Iterator[FlowTable]:
        """The flows a filter keeps, in pieces of some thousand rows.

        Raises:
            MissingTool: this kernel does not print the table, or not to this user.
        """
        try:
            self._path.open("rb").close()
        except FileNotFoundError as error:
            raise MissingTool(
                f"{self.name} is not there",
                hint="this kernel lacks CONFIG_NF_CONNTRACK_PROCFS, or nothing is "
                "tracked yet; natscope list reads the table over netlink",
            ) from error
        except PermissionError as error:
            raise MissingTool(
                f"{self.name} may not be read",
                hint="only root reads it: run natscope as root",
            ) from error
        return super().chunks(filter)

    def evidence(self) -> Evidence:
        """The box's timeouts and addresses; the text itself tells no time."""
        return Evidence(None, box.read_timeouts(), box.read_addresses())
