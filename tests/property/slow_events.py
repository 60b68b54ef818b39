"""Events told and written one at a time, plainly: what the bulk forms must equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from socket import AF_INET, AF_INET6, inet_ntop

from natscope import uapi
from natscope.model.event import Event, EventKind
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.nat import INWARD, ROLES, End, Endpoint, classify, endpoint
from natscope.table.flowtable import FlowTable
from natscope.table.live import flow_keys

Status = uapi.Status
TCP = {
    "SYN_SENT": "opened",
    "SYN_RECV": "replied",
    "ESTABLISHED": "established",
    "FIN_WAIT": "closing",
    "CLOSE_WAIT": "half closed",
    "LAST_ACK": "last ack",
    "TIME_WAIT": "time wait",
    "CLOSE": "reset",
    "SYN_SENT2": "opened both ways",
}
NEWS = (
    (Status.OFFLOAD, "offloaded"),
    (Status.ASSURED, "steady"),
    (Status.SEEN_REPLY, "replied"),
)


@dataclass(frozen=True)
class Known:
    """What was told of a flow."""

    status: int | None = None
    state: int | None = None
    mark: int | None = None
    labels: int | None = None
    start_ns: int | None = None
    closed_ns: int | None = None


@dataclass(frozen=True)
class Said:
    """What an event says."""

    event: Event
    word: str
    marked: bool
    labelled: bool
    began_ns: int | None
    lasted_ns: int | None


@dataclass
class SlowLifecycle:
    """Follows flows in a dictionary."""

    flows: dict[int, Known] = field(default_factory=dict)

    def tell(self, event: Event) -> Said:
        flow, kind = event.flow, event.kind
        key = int(flow_keys(FlowTable.from_flows([flow]))[0])
        before = Known() if kind == EventKind.NEW else self.flows.get(key, Known())
        after = learned(before, event)
        if kind == EventKind.DESTROY:
            self.flows.pop(key, None)
        else:
            self.flows[key] = after
        update = kind == EventKind.UPDATE
        marked = update and differs(before, before.mark, after.mark)
        labelled = update and differs(before, before.labels, after.labels)
        word = said(event, before, after)
        if word == "updated" and (marked or labelled):
            word = ""
        lasted = None
        if kind == EventKind.DESTROY and not event.repaired and after.start_ns:
            end = after.closed_ns or flow.stop_ns or event.time_ns
            lasted = max(0, end - after.start_ns)
        return Said(event, word, marked, labelled, after.start_ns, lasted)


def learned(before: Known, event: Event) -> Known:
    flow, kind = event.flow, event.kind
    told: dict[str, int | None] = {
        "status": flow.status,
        "state": flow.tcp_state,
        "mark": flow.mark,
        "labels": flow.labels,
        "start_ns": flow.start_ns,
    }
    if kind == EventKind.NEW and flow.start_ns is None:
        told["start_ns"] = event.time_ns
    after = replace(before, **{k: v for k, v in told.items() if v is not None})
    closing = flow.tcp_state is not None and state_word(flow, flow.tcp_state) in (
        "time wait",
        "reset",
    )
    if kind == EventKind.UPDATE and closing and before.state != after.state:
        after = replace(after, closed_ns=event.time_ns)
    return after


def differs(before: Known, then: int | None, now: int | None) -> bool:
    """Whether something of a flow that was known is another now."""
    return before.status is not None and now is not None and now != (then or 0)


def state_word(flow: Flow, state: int | None) -> str:
    if state is None:
        return ""
    if flow.proto != uapi.IPPROTO_TCP:
        return "updated"
    return TCP.get(uapi.state_name(uapi.TCP_STATES, state), "updated")


def said(event: Event, before: Known, after: Known) -> str:
    flow = event.flow
    status, state = after.status or 0, state_word(flow, after.state)
    if event.kind == EventKind.NEW:
        if status & Status.EXPECTED:
            return "opened, expected"
        running = state not in ("", "opened", "replied", "updated", "reset")
        by_packet = not event.portid and not event.repaired
        return "picked up" if running and by_packet else "opened"
    if event.kind == EventKind.UPDATE:
        if after.state != before.state and state:
            return state
        new = status & ~(before.status or 0)
        return next((word for bit, word in NEWS if new & bit), "updated")
    if event.repaired:
        return "gone"
    if event.portid:
        return "deleted"
    seen = after.status is None or after.status & Status.SEEN_REPLY
    if state == "reset" and not seen:
        return "refused"
    if flow.timeout:
        return "removed"
    if state in ("time wait", "reset"):
        return {"time wait": "closed", "reset": "reset"}[state]
    return "expired" if seen else "unanswered"


def line(said: Said, evidence: Evidence, programs: Mapping[int, str]) -> str:
    """One event as a line for people, in UTC."""
    event, flow = said.event, said.event.flow
    words = [said.word] if said.word else []
    words += [f"mark {flow.mark}"] if said.marked else []
    words += [f"label {bits(flow.labels or 0)}"] if said.labelled else []
    what = ", ".join(words) + ", repaired" * event.repaired
    if said.lasted_ns is not None:
        what += f" after {span(said.lasted_ns)}"
    head = f"{clock(event.time_ns, '%H:%M:%S')}  {what:<22}  "
    return head + ends(said, evidence, programs, packets=False)


def ending(said: Said, evidence: Evidence, programs: Mapping[int, str]) -> str:
    """One finished flow as a line for people, in UTC."""
    began = said.began_ns
    start = "-" if began is None else clock(began, "%Y-%m-%d %H:%M:%S")
    lasted = "-" if said.lasted_ns is None else span(said.lasted_ns)
    how = said.word + ", repaired" * said.event.repaired
    tail = ends(said, evidence, programs, packets=True)
    return f"{start:<23}  {lasted:>6}  {how:<10}  {tail}"


def ends(
    said: Said, evidence: Evidence, programs: Mapping[int, str], *, packets: bool
) -> str:
    event, flow = said.event, said.event.flow
    kind, cast = classify(flow, evidence)
    inward = cast == ROLES[INWARD]
    arrow = " <- " if inward else " -> "
    parts = [text(flow, cast.inside), text(flow, cast.public)]
    parts.append(text(flow, cast.outside or cast.target))
    further = ""
    if cast.outside and cast.target not in (End.NONE, cast.inside):
        further = " -> " + text(flow, cast.target)
    remarks = sizes(event, inward=inward, packets=packets)
    if event.portid:
        name = programs.get(event.portid) or f"portid {event.portid}"
        remarks.append(f"by {name}")
    if event.flow.netns is not None:
        remarks.append(f"in {event.flow.netns}")
    parts[:2] = [f"{part:<21}{arrow}" for part in parts[:2]]
    if further or remarks:
        parts[2] = f"{parts[2]:<21}"
    if further and remarks:
        further = f" -> {further[4:]:<21}"
    shown = "".join(parts) + further
    proto = uapi.protocol_name(flow.proto)
    return "  ".join([f"{proto:<6} {kind.letter:<2}", shown, *remarks])


def sizes(event: Event, *, inward: bool, packets: bool) -> list[str]:
    flow = event.flow
    if event.kind != EventKind.DESTROY or event.repaired:
        return []
    up = (flow.orig_bytes, flow.orig_packets)
    down = (flow.reply_bytes, flow.reply_packets)
    if up[0] is None or down[0] is None:
        return []
    if inward:
        up, down = down, up
    texts = [
        f"{quantity(octets or 0)}B" + f" {quantity(count or 0)}p" * packets
        for octets, count in (down, up)
    ]
    return [f"{texts[0]} down / {texts[1]} up"]


def text(flow: Flow, end: End) -> str:
    found: Endpoint | None = endpoint(flow, end)
    if found is None:
        return "-"
    v6 = found.address.version == 6
    address = inet_ntop(AF_INET6 if v6 else AF_INET, found.address.packed)
    if found.port is None:
        return address
    if v6:
        address = f"[{address}]"
    if flow.proto in (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6):
        return f"{address}:id={found.port}"
    if flow.proto == uapi.IPPROTO_GRE:
        return f"{address}:key={found.port:#x}"
    return f"{address}:{found.port}"


def bits(labels: int) -> str:
    return ",".join(str(n) for n in range(128) if labels >> n & 1) or "none"


def clock(time_ns: int, style: str) -> str:
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC)
    return f"{moment.strftime(style)}.{time_ns // 10**6 % 1000:03}"


def span(lasted_ns: int) -> str:
    seconds = lasted_ns // 10**9
    if seconds < 1:
        return f"{lasted_ns // 10**6}ms"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if not minutes:
        return f"{seconds}s"
    if not hours:
        return f"{minutes}m{seconds % 60:02}s"
    return f"{days}d{hours % 24:02}h" if days else f"{hours}h{minutes % 60:02}m"


def quantity(value: int) -> str:
    power = next(power for power in range(7) if value < 1000 ** (power + 1))
    unit, letter = 1000**power, ("", "k", "M", "G", "T", "P", "E")[power]
    if power and value // unit < 10:
        return f"{value // unit}.{value // (unit // 10) % 10}{letter}"
    return f"{value // unit}{letter}"
