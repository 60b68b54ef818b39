"""Conntrack messages made at random from the schema, sound and unsound."""

from __future__ import annotations

from hypothesis import strategies as st

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.codec.schema import FLOW, SIZES, Leaf, Nest
from natscope.uapi import Cta, CtaIp, CtaTuple

CT_NEW = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.NEW


def message(attributes: bytes, family: int = uapi.AF_INET) -> bytes:
    """A dump's message around these attributes."""
    body = nlmsg.NFGENMSG.pack(family, 0, 0) + attributes
    return nlmsg.build(CT_NEW, uapi.NLM_F_MULTI, 1, body)


@st.composite
def leaf_payloads(draw: st.DrawFn, leaf: Leaf) -> bytes:
    """Mostly as long as the kernel sends it; now and then a newer kernel's."""
    size = SIZES.get(leaf.kind)
    if size is None:
        return draw(st.binary(max_size=20))
    size += draw(st.sampled_from((0,) * 12 + (1, 4, 16)))
    return draw(st.binary(min_size=size, max_size=size))


@st.composite
def trees(draw: st.DrawFn, nest: Nest) -> bytes:
    """A run of attributes of this nest, known and unknown, in any order."""
    kinds = st.sampled_from(sorted(nest.children)) | st.integers(28, 60)
    chosen = draw(st.lists(kinds, max_size=len(nest.children), unique=True))
    out = []
    for kind in chosen:
        child = nest.children.get(kind)
        if isinstance(child, Nest):
            out.append(nla.nest(kind, draw(trees(child))))
        elif child is not None:
            out.append(nla.build(kind, draw(leaf_payloads(child))))
        else:
            out.append(nla.build(kind, draw(st.binary(max_size=12))))
    return b"".join(out)


@st.composite
def tuples(draw: st.DrawFn, attribute: int, *, v6: bool) -> bytes:
    """A complete tuple of one family with a protocol part made at random."""
    child = FLOW.children[attribute]
    assert isinstance(child, Nest)
    l4 = child.children[CtaTuple.CTA_TUPLE_PROTO]
    assert isinstance(l4, Nest)
    size = 16 if v6 else 4
    source = CtaIp.CTA_IP_V6_SRC if v6 else CtaIp.CTA_IP_V4_SRC
    ip = b"".join(
        nla.build(kind, draw(st.binary(min_size=size, max_size=size)))
        for kind in (source, source + 1)
    )
    number = nla.build(1, bytes([draw(st.sampled_from((1, 6, 17, 47, 58, 132, 253)))]))
    parts = [
        nla.nest(CtaTuple.CTA_TUPLE_IP, ip),
        nla.nest(CtaTuple.CTA_TUPLE_PROTO, number, draw(trees(l4))),
    ]
    if draw(st.booleans()):
        parts.append(
            nla.build(CtaTuple.CTA_TUPLE_ZONE, draw(st.binary(min_size=2, max_size=2)))
        )
    return nla.nest(attribute, *parts)


@st.composite
def sound_messages(draw: st.DrawFn) -> bytes:
    """What a kernel, today's or tomorrow's, could send."""
    v6 = draw(st.booleans())
    rest = {
        kind: child
        for kind, child in FLOW.children.items()
        if kind not in (Cta.CTA_TUPLE_ORIG, Cta.CTA_TUPLE_REPLY, Cta.CTA_TUPLE_MASTER)
    }
    attributes = [
        draw(tuples(Cta.CTA_TUPLE_ORIG, v6=v6)),
        draw(tuples(Cta.CTA_TUPLE_REPLY, v6=v6)),
        draw(trees(Nest("flow", rest, uapi.names(Cta)))),
    ]
    if draw(st.booleans()):
        attributes.append(draw(tuples(Cta.CTA_TUPLE_MASTER, v6=v6)))
    return message(b"".join(draw(st.permutations(attributes))))


@st.composite
def unsound_messages(draw: st.DrawFn) -> bytes:
    """A sound message cut anywhere, or with any of its bytes changed."""
    whole = bytearray(draw(sound_messages()))
    if draw(st.booleans()):
        cut = draw(st.integers(nlmsg.HEADER.size, len(whole)))
        del whole[cut:]
        whole[0:4] = cut.to_bytes(4, "little")
        whole += bytes(-len(whole) & 3)
    for _ in range(draw(st.integers(0, 4))):
        if len(whole) > nlmsg.HEADER.size:
            at = draw(st.integers(nlmsg.HEADER.size, len(whole) - 1))
            whole[at] = draw(st.integers(0, 255))
    return bytes(whole)
