"""An expectation: a flow a helper has announced, before its first packet."""

from __future__ import annotations

from dataclasses import dataclass

from natscope.model.tuples import FlowTuple


@dataclass(frozen=True, slots=True)
class Expectation:
    """struct nf_conntrack_expect.

    A flow is expected if its original tuple equals ``expected`` in the bits of
    ``mask``.  ``None`` means the source did not say.
    """

    expected: FlowTuple
    mask: FlowTuple
    master: FlowTuple
    """The original tuple of the flow that announced it."""
    timeout: int | None = None
    """Seconds left before it is dropped."""
    zone: int | None = None
    """The zone of its master; the kernel takes it and never tells it."""
    flags: int | None = None
    """NF_CT_EXPECT_*: permanent, inactive, from user space."""
    class_: int | None = None
    """The helper's policy it falls under."""
    id: int | None = None
    helper: str | None = None
    fn: str | None = None
    """What the kernel calls when it comes true: nat-follow-master, ..."""
    nat: FlowTuple | None = None
    """What the expected flow is translated to, where the helper rewrote it."""
    nat_dir: int | None = None
    """The direction ``nat`` is of: 0 original, 1 reply."""

    def is_of_one_family(self) -> bool:
        """Whether all its tuples are of IPv4, or all of IPv6, as the kernel's are."""
        tuples = (self.expected, self.mask, self.master, self.nat or self.expected)
        return len({end.version for t in tuples for end in (t.src, t.dst)}) == 1
