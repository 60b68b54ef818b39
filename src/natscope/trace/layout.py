"""Where the running kernel's structs keep what the programs read."""

from __future__ import annotations

from dataclasses import dataclass

from natscope import uapi
from natscope.errors import MissingTool
from natscope.trace.bpf.btf import Btf, kernel_btf

ENTRY = 240
"""Bytes of struct nf_conn that are copied; on x86-64 213 hold all that is told."""


@dataclass(frozen=True, slots=True)
class EntryLayout:
    """Offsets in struct nf_conn, from ``start`` on; None is a feature not built in."""

    start: int
    orig: int
    reply: int
    status: int
    tcp_state: int
    mark: int | None
    zone: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in the structs, in bytes."""

    skb_nfct: int
    skb_dev: int
    skb_mark: int
    skb_tail: int
    skb_head: int
    skb_network: int
    skb_transport: int
    context_state: int
    context_skb: int
    state_hook: int
    state_in: int
    state_out: int
    state_net: int
    net_hooks: dict[int, int]
    """Where struct net keeps the hooks of a family, a pointer for each hook."""
    hook_entries: int
    """Where struct nf_hook_entries keeps them; their number stands first."""
    ifindex: int
    device_net: int
    entry: EntryLayout


def read_layout(btf: Btf) -> Layout:
    """The layout, from the kernel's BTF.

    Raises:
        MissingTool: a struct or member is not there, or not where it can be read.
    """
    skb, net = btf.struct("sk_buff"), btf.struct("net")
    device = btf.struct("net_device")
    state, context = btf.struct("nf_hook_state"), btf.struct("bpf_nf_ctx")
    return Layout(
        skb_nfct=skb.offset("_nfct"),
        skb_dev=skb.offset("dev"),
        skb_mark=skb.offset("mark"),
        skb_tail=skb.offset("tail"),
        skb_head=skb.offset("head"),
        skb_network=skb.offset("network_header"),
        skb_transport=skb.offset("transport_header"),
        context_state=context.offset("state"),
        context_skb=context.offset("skb"),
        state_hook=state.offset("hook"),
        state_in=state.offset("in"),
        state_out=state.offset("out"),
        state_net=state.offset("net"),
        net_hooks={
            uapi.AF_INET: net.offset("nf.hooks_ipv4"),
            uapi.AF_INET6: net.offset("nf.hooks_ipv6"),
        },
        hook_entries=btf.struct("nf_hook_entries").offset("hooks"),
        ifindex=device.offset("ifindex"),
        device_net=device.offset("nd_net.net"),
        entry=_entry(btf),
    )


def _entry(btf: Btf) -> EntryLayout:
    ct = btf.struct("nf_conn")
    orig = ct.offset("tuplehash[0].tuple")
    reply = ct.offset("tuplehash[1].tuple")
    status, tcp_state = ct.offset("status"), ct.offset("proto.tcp.state")
    mark, zone = ct.get("mark"), ct.get("zone")
    told = [at for at in (orig, reply, status, tcp_state, mark, zone) if at is not None]
    start = min(told) & ~7
    if max(told) + 8 - start > ENTRY:
        raise MissingTool(
            "this kernel's struct nf_conn is larger than BPF positions can read",
            hint="--method nft traces without them",
        )
    return EntryLayout(
        start=start,
        orig=orig - start,
        reply=reply - start,
        status=status - start,
        tcp_state=tcp_state - start,
        mark=None if mark is None else mark - start,
        zone=None if zone is None else zone - start,
    )


def running_btf() -> Btf:
    """The running kernel's types, those of conntrack among them.

    Raises:
        MissingTool: it tells none.
    """
    return kernel_btf("nf_conntrack", "nf_conn")
