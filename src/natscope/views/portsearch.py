"""Whether the kernel's search for a free source port finds one.

nf_nat_l4proto_unique_tuple() does not try every port: it looks at 128 neighbours from a
random one on, then from other random ones at 64, 32, 16 and 8.  Used ports stand in
clumps, for a taken port moves a flow to its neighbour; so the search fails long before
all ports are taken.  Of the ports that are taken the chance is known: it is how many of
the places a round may begin at lead past taken ports alone.  (Left out: the offset has
16 bits, so that one round in 500 steps over 65,535 and goes on at the first port.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from natscope.model.release import release

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Chances = NDArray[np.float64]

MOST_TRIES = 128
"""NF_NAT_MAX_ATTEMPTS: a range up to this is searched whole."""
HARDER = 32
"""NF_NAT_HARDER_THRESH: the last tries of a round also take the port of a closing
connection, if the new one's sequence numbers are ahead (since 6.5)."""
_EVICTS_SINCE = (6, 5)
ROUNDS = (128, 64, 32, 16, 8)
"""Ports looked at, round by round, in a range of more than 128."""
DRAWN = 1 << 16
"""get_random_u16(), taken modulo the size of the range, is where a round begins."""
FEW_LOST = 0.001
"""A new flow in a thousand: what users begin to notice."""

_SIZES = (128, 200, 500, 1000, 5000, 64_512)
_TROUBLE = (1.0, 0.94, 0.91, 0.90, 0.89, 0.88)
"""Occupancy at which one flow in a thousand is lost, by simulating the search.  Of
64,512 ports the kernel itself lost 0.15 % at 90 %, and dropped the first at 86.6 %.
Ranges that do not divide 65,536 well (20,000 ports) come to it up to 8 % earlier."""


def evicts(kernel: str | None) -> bool:
    """Whether a search may take the port of a closing connection.

    Args:
        kernel: uname(2)'s release; of one that is not known, no.
    """
    found = release(kernel)
    return found is not None and found >= _EVICTS_SINCE


def trouble_at(size: int) -> float:
    """The occupancy at which one flow in a thousand that needs a port finds none.

    Of ports that are taken one after the other and not given back; with many given
    back at random it is some per cent later.

    Args:
        size: ports of the range.
    """
    return float(np.interp(np.log(max(size, 1)), np.log(_SIZES), _TROUBLE))


def loss(group: Numbers, port: Numbers, hard: Mask, sizes: Numbers) -> Chances:
    """The chance of each group that a new flow finds no port, and is dropped.

    Of a flow that needs another port than its own, in a moment when nothing else
    changes.  Where all are taken it is 1, where no round can fail 0.

    Args:
        group: of each taken port, ascending.
        port: how far into its range, ascending within the group, each once.
        hard: it is not a closing connection's that may be evicted.
        sizes: of each group, the ports of its range.
    """
    chance = np.zeros(len(sizes))
    near = _may_fail(group, port, sizes)
    number = np.cumsum(near) - 1
    rows = near[group]
    chance[near] = _chances(number[group[rows]], port[rows], hard[rows], sizes[near])
    return chance


def _may_fail(group: Numbers, port: Numbers, sizes: Numbers) -> Mask:
    """Groups with neighbours enough for a round to fail; most have none.

    Of half as many a round may fail too: others may stand at the other end.
    """
    begins = np.flatnonzero(_begins(group, port))
    lengths = np.diff(begins, append=len(port))
    longest = np.zeros(len(sizes), np.int64)
    np.maximum.at(longest, group[begins], lengths)
    found: Mask = 2 * longest >= np.minimum(sizes, MOST_TRIES)
    return found


def _chances(group: Numbers, port: Numbers, hard: Mask, sizes: Numbers) -> Chances:
    group, port, hard = _twice(group, port, hard, sizes)
    if not hard.any():
        return np.zeros(len(sizes))
    first = _first_of_run(group, port)[hard]
    group, port = group[hard], port[hard]
    begins = np.flatnonzero(_begins(group, port))
    ends = np.append(begins[1:], len(port)) - 1
    run = _Runs(group[begins], port[begins], port[ends], first[begins])
    chance = _lost_in(run, np.minimum(sizes, MOST_TRIES), sizes)
    open_still = (sizes > MOST_TRIES) & (chance > 0)
    run = run.at(open_still[run.group])
    for tries in ROUNDS[1:]:
        missed = _lost_in(run, np.full(len(sizes), tries), sizes)
        chance = np.where(open_still, chance * missed, chance)
    return chance


class _Runs:
    """Neighbouring ports that are hard to get; ``taken`` is where those begin that
    are taken at all, without a gap up to them."""

    def __init__(
        self, group: Numbers, first: Numbers, last: Numbers, taken: Numbers
    ) -> None:
        self.group, self.first, self.last, self.taken = group, first, last, taken

    def at(self, chosen: Mask) -> _Runs:
        """Some of them."""
        columns = (self.group, self.first, self.last, self.taken)
        return _Runs(*(column[chosen] for column in columns))


def _lost_in(run: _Runs, tries: Numbers, sizes: Numbers) -> Chances:
    """The chance of each group that a round of so many tries fails."""
    run = run.at(run.last - run.taken + 1 >= tries[run.group])  # the others are left
    hard_tries = np.minimum(tries, HARDER)
    easy, hard = (tries - hard_tries)[run.group], hard_tries[run.group]
    # where the harder tries begin: behind `easy` taken ports, before `hard` hard ones
    low = np.maximum(np.maximum(run.first, run.taken + easy), easy)
    high = np.minimum(run.last - hard + 1, sizes[run.group] + easy - 1)
    low, high, size = low - easy, high - easy, sizes[run.group]
    # of 65,536 numbers drawn, the first ones of a range stand for one more than others
    often, over = np.divmod(DRAWN, size)
    drawn = often * _length(low, high) + _length(low, np.minimum(high, over - 1))
    lost: Chances = np.bincount(run.group, drawn, minlength=len(sizes)) / DRAWN
    return lost


def _length(first: Numbers, last: Numbers) -> Numbers:
    length: Numbers = np.maximum(last - first + 1, 0)
    return length


def _twice(
    group: Numbers, port: Numbers, hard: Mask, sizes: Numbers
) -> tuple[Numbers, Numbers, Mask]:
    """The ports once more behind their range: after the last comes the first."""
    both = np.concatenate([port, port + sizes[group]])
    groups = np.concatenate([group, group])
    order = np.lexsort((both, groups))
    return groups[order], both[order], np.concatenate([hard, hard])[order]


def _begins(group: Numbers, port: Numbers) -> Mask:
    """Whether each port's left neighbour is missing."""
    begins = np.ones(len(port), np.bool_)
    begins[1:] = (group[1:] != group[:-1]) | (port[1:] != port[:-1] + 1)
    return begins


def _first_of_run(group: Numbers, port: Numbers) -> Numbers:
    starts = _begins(group, port)
    first: Numbers = port[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    return first
