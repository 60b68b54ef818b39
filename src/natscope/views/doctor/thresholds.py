"""From where on a number is trouble; each with its reason.

A file may set others: ``codec.text.thresholds``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from natscope.model.finding import Severity
from natscope.views.portalarms import PortLimits

Share = Annotated[float, "share"]
"""Of a whole, which is 1."""
_PORTS = PortLimits()


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Every threshold of every rule, named after what it is compared with."""

    table_warning: Share = 0.75
    """R01: node_exporter's NodeHighNumberConntrackEntriesUsed."""
    table_high: Share = 0.90
    """R01: netdata warns here; a burst of a few seconds fills the rest."""
    table_critical: Share = 0.95
    """R01: gc_worker() evicts entries that are not assured from here on."""
    no_entry: int = 3
    """R01: packets dropped in an interval though the table has room; one may be a
    connection opened again at the moment of its end."""

    reverse_path_packets: int = 10
    """R13: in an interval; one or two forged packets are what the filter is for."""
    asymmetric_flows: int = 20
    """R14: fewer are the odd flow that was open when the box began to track."""
    asymmetric_share: Share = 0.05
    """R14: of the TCP flows; scans and lost hosts stay below."""
    asymmetric_invalid: int = 20
    """R14: INVALID packets in an interval, as one-way traffic brings many of."""
    asymmetric_invalid_share: Share = 0.01
    """R14: of the forwarded packets; late packets and scans stay below."""
    invalid_leak_packets: int = 3
    """R15: in an interval; each may reset a transfer, one may be a stray."""
    escaping_flows: int = 3
    """R16: one or two are older than the rule, or a host's mistake."""
    idle_table: Share = 0.50
    """R17: below half, idle flows take no room from others."""
    idle_share: Share = 0.30
    """R17: of the established flows."""
    idle_after_s: int = 3600
    """R17: most applications speak within the hour, or ended without a word."""
    idle_flows: int = 100
    """R17: a share of fewer says nothing."""
    established_shortest_s: int = 7440
    """R17: RFC 5382 REQ-5: two hours and four minutes, for TCP keep-alives."""
    closing_flows: int = 1000
    """R18: fewer closing flows harm no table."""
    close_wait_share: Share = 0.20
    """R18: of the TCP flows; a closing flow should stay for seconds."""
    close_wait_timeout_s: int = 3600
    """R18: kube-proxy's; the kernel's own is 60."""
    time_wait_share: Share = 0.50
    """R18: of the TCP flows; half of the table waits for nothing."""
    time_wait_table: Share = 0.25
    """R18: of the table in use; in an emptier one they harm nobody."""
    flood_flows: int = 1000
    """R19: a busy resolver leaves hundreds unanswered."""
    flood_share: Share = 0.50
    """R19: of all flows; a healthy box has a few per cent unanswered."""
    flood_packets: int = 10
    """R19: of one flow; who knocks in vain sends up to seven (tcp_syn_retries)."""
    flood_source_share: Share = 0.30
    """R19: of the unanswered ones, for one address to be named."""
    expectations_share: Share = 0.80
    """R20: of nf_conntrack_expect_max; a few calls or transfers fill the rest."""
    one_way_packets: int = 50
    """R20: a second of speech (RFC 3551: 20 ms each); no answer by then is no call."""
    untracked_packets: int = 10
    """R23: forwarded in an interval: more than a stray ping."""
    elsewhere_flows: int = 1000
    """R24: tracked in other namespaces; fewer are a host's idle containers."""
    error_packets: int = 10
    """R35: in an interval; fewer are late errors about flows that have ended."""
    allowance_share: Share = 0.20
    """R28: left of what a cloud tracks; a burst of minutes uses the rest."""
    keepalive_share: Share = 0.80
    """R29: of the timeout; one lost keep-alive, or a late one, ends the mapping."""
    keepalive_packets: int = 5
    """R29: fewer give no mean."""
    softirq_share: Share = 0.80
    """R33: of a CPU's time; a queue grows from about there on."""
    softnet_packets: int = 1
    """R33: any packet the backlog drops is lost."""
    load_warning: float = 4.0
    """R02: entries a chain; below, a look-up costs next to nothing."""
    load_critical: float = 15.0
    """R02: with chains limited to 40, refusals began here (netdev, 2023-03-07)."""
    ports_warning: Share = _PORTS.warning
    """R03: as in ``natscope ports``; its reason is there."""
    ports_high: Share = _PORTS.high
    """R03: likewise."""
    ports_critical: Share = _PORTS.critical
    """R03: likewise."""
    ports_fewest: int = _PORTS.fewest
    """R03: likewise."""
    same_counters: Share = 0.05
    """R01: of the drops; so far insert_failed and drop may be apart, which are not read
    at one moment."""
    races: int = 3
    """R04, R05: flows lost in the interval; one or two are no pattern."""
    dns_share: Share = 0.30
    """R05: of UDP flows, those to port 53."""
    clashes: int = 10
    """R05: settled races in the interval that are worth a word."""
    early_drops: int = 1
    """R06: each is a flow that was thrown out."""
    forward_hits: int = 2
    """R11: packets that opened no flow; one may have been refused by the target."""
    rule_address_flows: int = 3
    """R37: unanswered, of an address a rule gives; one or two ask dead hosts."""

    def of_table(self, share: float) -> Severity | None:
        """How bad it is that so much of the table is in use; None: it is not."""
        if share >= self.table_critical:
            return Severity.CRITICAL
        if share >= self.table_high:
            return Severity.HIGH
        return Severity.WARNING if share >= self.table_warning else None


DEFAULT = Thresholds()
