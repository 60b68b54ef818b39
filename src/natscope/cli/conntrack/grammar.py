"""The commands and options of conntrack(8), as data; nothing here reads a word.

The tables follow ``commands_v_options`` of conntrack-tools 1.4.9.  Where more
is legal here than there, the comment beside it says what; nothing legal there
is illegal here.
"""

from __future__ import annotations

from natscope.cli.conntrack.getopt import ARGUMENT, NOTHING, OPTIONAL

ILLEGAL, REQUIRED, ALLOWED, PAIRED = range(4)
"""What an option is to a command.  Paired ones are required by twos."""


class Command:
    """A command: its letter and long name, and what it does.

    ``name`` is that of Request.command.  With ``tables`` it takes one; the
    table of expectations makes another command of it.
    """

    __slots__ = ("help", "letter", "long", "name", "tables", "takes")

    def __init__(
        self, letter: str, name: str, long: str, takes: int, tables: str, help: str
    ) -> None:
        self.letter = letter
        self.name = name
        self.long = long
        self.takes = takes
        self.tables = tables
        self.help = help


_BOTH = "conntrack expect"
_ALL = "conntrack expect dying unconfirmed"

COMMANDS = (
    Command("L", "list", "dump", NOTHING, _ALL, "list the entries of a table"),
    Command("G", "get", "get", NOTHING, _BOTH, "show the entry of a tuple"),
    Command("D", "delete", "delete", NOTHING, _BOTH, "delete entries"),
    Command("I", "create", "create", NOTHING, _BOTH, "create an entry"),
    Command("A", "add", "add", NOTHING, "conntrack", "create or update an entry"),
    Command("U", "update", "update", NOTHING, "conntrack", "change entries"),
    Command("E", "event", "event", NOTHING, _BOTH, "show events as they come"),
    Command("F", "flush", "flush", NOTHING, _BOTH, "empty a table"),
    Command("C", "count", "counter", OPTIONAL, _BOTH, "show the number of entries"),
    Command("S", "stats", "stats", NOTHING, _BOTH, "show the counters of each CPU"),
    Command("V", "version", "version", NOTHING, "", "show the version"),
    Command("h", "help", "help", NOTHING, "", "show the usage, with -p of a protocol"),
)
_PLAIN_LONGS = ("stats", "version", "help")
"""Commands whose long name takes no ``=TABLE``."""


class Option:
    """An option, and the commands that know it.

    ``name`` is what messages and Request.given call it.  The commands are given
    by letter, ``x`` after it for the table of expectations: ``may`` take it,
    ``must`` have it, or have it with its ``pair``.
    """

    __slots__ = (
        "help",
        "letter",
        "longs",
        "may",
        "metavar",
        "must",
        "name",
        "pair",
        "takes",
    )

    def __init__(
        self,
        letter: str,
        longs: str,
        metavar: str,
        help: str,
        may: str,
        must: str = "",
        pair: str = "",
        takes: int = ARGUMENT,
    ) -> None:
        names = longs.split()
        self.letter = letter
        self.longs = tuple(names)
        self.name = names[-1]
        self.metavar = metavar
        self.help = help
        self.may = may
        self.must = must
        self.pair = pair
        self.takes = takes

    def legality(self, command: str) -> int:
        """What it is to a command: ILLEGAL, REQUIRED, ALLOWED or PAIRED."""
        if command in self.may.split():
            return ALLOWED
        if command in self.must.split():
            return REQUIRED
        return PAIRED if command in self.pair.split() else ILLEGAL


OPTIONS = (
    Option(
        "s",
        "orig-src src",
        "ADDRESS[/PREFIX]",
        "source address of the original direction",
        may="L U D E",
        must="Ix Dx Gx",
        pair="I A G",
    ),
    Option(
        "d",
        "orig-dst dst",
        "ADDRESS[/PREFIX]",
        "destination address of the original direction",
        may="L U D E",
        must="Ix Dx Gx",
        pair="I A G",
    ),
    Option(
        "r",
        "reply-src",
        "ADDRESS[/PREFIX]",
        "source address of the reply direction",
        may="L U D E Ix Dx Gx",
        pair="I A G",
    ),
    Option(
        "q",
        "reply-dst",
        "ADDRESS[/PREFIX]",
        "destination address of the reply direction",
        may="L U D E Ix Dx Gx",
        pair="I A G",
    ),
    Option(
        "p",
        "protonum",
        "PROTOCOL",
        "protocol by name or number; its own options follow",
        may="L U D E h",
        must="I A G Ix Dx Gx",
    ),
    Option("t", "timeout", "SECONDS", "the timeout to set", "U D", must="I A Ix"),
    Option(
        "u",
        "status",
        "STATUS[,...]",
        "status bits to match, !BIT for a clear one, or to set",
        may="L U D I A Ix",
    ),
    Option("z", "zero", "", "zero the counters while listing", "L", takes=NOTHING),
    Option("e", "event-mask", "EVENT[,...]", "the events to show", "E"),
    Option("[", "tuple-src", "ADDRESS", "source address that is expected", "", "Ix"),
    Option(
        "]", "tuple-dst", "ADDRESS", "destination address that is expected", "", "Ix"
    ),
    Option("{", "mask-src", "MASK", "bits of --src that count", "L U D E", "Ix"),
    Option("}", "mask-dst", "MASK", "bits of --dst that count", "L U D E", "Ix"),
    Option("a", "nat-range", "ADDRESS", "nothing: deprecated, with a warning", "I A"),
    Option(
        "m",
        "mark",
        "MARK[/MASK]",
        "the mark to match, or to set",
        may="L U D E I A",
    ),
    # 1.4.9: U D G
    Option("i", "id", "ID", "the kernel's id of the entry", "L U D G E"),
    Option("f", "family", "ipv4|ipv6", "the address family", "L U D E F Lx"),
    Option(
        "n",
        "src-nat",
        "ADDRESS[/PREFIX][:PORT]",
        "source translation to match, any without a value; or to make",
        may="L U D E I A",
        takes=OPTIONAL,
    ),
    Option(
        "g",
        "dst-nat",
        "ADDRESS[/PREFIX][:PORT]",
        "destination translation to match, any without a value; or to make",
        may="L U D E I A",
        takes=OPTIONAL,
    ),
    # 1.4.9: L U D G E Lx Ex; everything else that prints takes it for json
    Option(
        "o",
        "output",
        "FORMAT[,...]",
        "how to show what is shown",
        may="L U D G E C S Lx Dx Gx Ex Cx Sx",
    ),
    Option("c", "secmark", "SECMARK", "the security mark", "L E"),
    Option("b", "buffer-size", "BYTES", "receive buffer for events", "E"),
    Option(
        "j",
        "any-nat",
        "ADDRESS[/PREFIX][:PORT]",
        "source or destination translation to match",
        may="L E",
        takes=OPTIONAL,
    ),
    # 1.4.9: not U G
    Option("w", "zone", "ZONE", "the zone of both directions", "L U D G E I A"),
    Option("l", "label", "LABEL[,...]", "labels, all of them", "L U D G E"),
    Option("<", "label-add", "LABEL[,...]", "labels to add", "U I A"),
    Option(
        ">",
        "label-del",
        "LABEL[,...]",
        "labels to take away, all of them without a value",
        may="U",
        takes=OPTIONAL,
    ),
    Option("(", "orig-zone", "ZONE", "the zone of the original direction", "L D E I A"),
    Option(")", "reply-zone", "ZONE", "the zone of the reply direction", "L D E I A"),
    Option("M", "labelmap", "FILE", "names of labels, as in connlabel.conf", "L U D E"),
)
"""In the order in which conntrack checks them."""

PAIRS = (("src", "dst"), ("reply-src", "reply-dst"))
"""Options that go together."""

COMPARISONS = frozenset(
    {
        *("protonum", "src", "dst", "reply-src", "reply-dst", "mark", "secmark"),
        *("status", "id", "zone", "label", "orig-zone", "reply-zone"),
    }
)
"""Options that cannot stand beside ``--zero``."""

LETTERS = {one.letter: one.takes for one in (*COMMANDS, *OPTIONS)}
LONGS = {
    **{
        one.long: (NOTHING if one.long in _PLAIN_LONGS else OPTIONAL, one.letter)
        for one in COMMANDS
    },
    **{long: (one.takes, one.letter) for one in OPTIONS for long in one.longs},
}
BY_LETTER = {one.letter: one for one in OPTIONS}
COMMANDS_BY_LETTER = {one.letter: one for one in COMMANDS}

TABLES = ("expect", "conntrack", "dying", "unconfirmed")
"""In the order in which beginnings of them are tried."""

NO_FAMILY = frozenset({"L", "U", "D", "G", "F", "E"})
"""Commands that mean both families unless one is said."""

IN_FILES = {"I", "A", "U", "D", "F"}
"""Commands a ``--load-file`` may hold."""
NAMES_IN_FILES = {"Ix": "-C expect"}
"""conntrack's message about the others has this one wrong."""
