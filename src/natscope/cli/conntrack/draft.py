"""A request while its command line is read.

What a word means may depend on the command, which may come last: networks,
lists and ranges are for filters alone.  Those are judged in the end.
"""

from __future__ import annotations

from natscope import uapi
from natscope.cli.conntrack import grammar, legality, values
from natscope.cli.conntrack.request import CommandLineError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from natscope.cli.conntrack.grammar import Option
    from natscope.cli.conntrack.protocols import Protocol
    from natscope.cli.conntrack.request import Spans

_ALWAYS_CIDR = ("src", "dst", "tuple-src", "tuple-dst")
_NEVER_CIDR = ("mask-src", "mask-dst")


class Draft:
    """A request, and what is still to be judged of it."""

    __slots__ = ("_cidr", "_plural", "given", "protocol", "request", "warnings")

    def __init__(self) -> None:
        self.request = Request()
        self.given: set[str] = set()
        self.protocol: Protocol | None = None
        self.warnings: list[str] = []
        # networks where conntrack takes none: option, and whether one can be read
        self._cidr: list[tuple[str, bool]] = []
        # option to what to say, should its list or range not be for a filter
        self._plural: dict[str, str] = {}

    def address(self, option: Option, text: str) -> tuple[bytes, bytes | None]:
        """An address, and a mask if it is a network of several.

        Raises:
            CommandLineError: neither, or of another family than those before.
        """
        name, slash, prefix = text.partition("/")
        packed = values.address(name)
        if packed is None:
            raise CommandLineError(f"Invalid IP address `{text}'")
        self.be_of_family(values.family_of(packed))
        if not slash:
            return packed, None
        if option.name in _NEVER_CIDR:
            raise _no_cidr(option.name)
        mask = values.netmask(prefix, len(packed))
        if option.name not in _ALWAYS_CIDR:
            self._cidr.append((option.name, mask is not None))
        elif mask is None:
            raise CommandLineError("Invalid netmask")
        return packed, None if mask == b"\xff" * len(packed) else mask

    def be_of_family(self, family: int) -> None:
        """Settle the family.

        Raises:
            CommandLineError: it is settled otherwise.
        """
        if self.request.family not in (uapi.AF_UNSPEC, family):
            raise CommandLineError("mismatched address family")
        self.request.family = family

    def numbers(self, name: str, found: Spans, wrong: str) -> bool:
        """Note the numbers of an option; whether they are more than one.

        ``wrong`` is what to say of those where a single number is needed.
        """
        self._plural.pop(name, None)
        if len(found) == 1 and found[0][0] == found[0][1]:
            return False
        self._plural[name] = wrong
        return True

    def states(self, names: tuple[str, ...], wrong: str) -> None:
        """Note the states; ``wrong`` as for ``numbers``."""
        self.request.states = names
        self._plural.pop("state", None)
        if len(names) > 1:
            self._plural["state"] = wrong

    def words(self, text: str, known: Collection[str]) -> Iterator[str]:
        """The words a list names by their beginnings; warns of those ignored.

        Raises:
            CommandLineError: one is none of the known.
        """
        for _, word in self._words(values.chosen(text, known)):
            yield word

    def negatable(self, text: str) -> Iterator[tuple[bool, str]]:
        """The words of a status list, each with whether it is negated.

        Raises:
            CommandLineError: one is no status.
        """
        found = values.chosen(text, values.STATUS_BITS, negatable=True)
        return self._words(found)

    def _words(self, found: Iterator[tuple[bool, str]]) -> Iterator[tuple[bool, str]]:
        try:
            for negated, word in found:
                if word in values.NAT_WORDS:
                    instead = f"--{word.lower().replace('_', '-')}"
                    self.warnings.append(
                        f"WARNING: ignoring {word}, use {instead} instead"
                    )
                else:
                    yield negated, word
        except values.BadWord as bad:
            raise CommandLineError(f"Bad parameter `{bad.rest}'") from None

    def finished(self) -> Request:
        """The request, now that all words are read.

        Raises:
            CommandLineError: what was given does not go together.
        """
        request = self.request
        request.warnings = tuple(self.warnings)
        request.given = frozenset(self.given)
        code = legality.code_of(request)
        if request.family == uapi.AF_UNSPEC and code not in grammar.NO_FAMILY:
            request.family = uapi.AF_INET
        for name, readable in self._cidr:
            if not request.filters:
                raise _no_cidr(name)
            if not readable:
                raise CommandLineError("Invalid netmask")
        legality.check(request, self.protocol)
        for name, wrong in self._plural.items():
            if not request.filters or (name, code) == ("state", "U"):
                raise CommandLineError(wrong)
        if request.filters:
            self._make_networks()
        elif code == "Ix":
            for cells in (request.expected, request.mask):
                cells["family"] = request.family
                cells["proto"] = request.cells["proto"]
        return request

    def _make_networks(self) -> None:
        """Addresses under a mask are networks, not cells."""
        request = self.request
        for column in ("orig_src", "orig_dst"):
            mask = request.mask.pop(column, None)
            if mask is not None:
                network = values.masked(request.cells.pop(column), mask)
                request.networks[column] = (network, mask)


def _no_cidr(name: str) -> CommandLineError:
    return CommandLineError(f"CIDR notation unavailable for `--{name}'")
