"""From where on a number is trouble; each with its reason.

A file may set others: ``codec.text.thresholds``.  Shares are of 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from natscope.model.finding import Severity


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Every threshold of every rule, named after what it is compared with."""

    table_warning: float = 0.75
    """R01: node_exporter's NodeHighNumberConntrackEntriesUsed."""
    table_high: float = 0.90
    """R01: netdata warns here; a burst of a few seconds fills the rest."""
    table_critical: float = 0.95
    """R01: gc_worker() evicts unanswered entries from here on."""

    reverse_path_packets: int = 10
    """R13: in an interval; one or two forged packets are what the filter is for."""
    asymmetric_flows: int = 20
    """R14: fewer are the odd flow that was open when the box began to track."""
    asymmetric_share: float = 0.05
    """R14: of the TCP flows; scans and lost hosts stay below."""
    asymmetric_invalid: int = 20
    """R14: INVALID packets in an interval, as one-way traffic brings many of."""
    asymmetric_invalid_share: float = 0.01
    """R14: of the forwarded packets; late packets and scans stay below."""
    invalid_leak_packets: int = 3
    """R15: in an interval; each may reset a transfer, one may be a stray."""
    escaping_flows: int = 3
    """R16: one or two are older than the rule, or a host's mistake."""
    idle_table: float = 0.50
    """R17: below half, idle flows take no room from others."""
    idle_share: float = 0.30
    """R17: of the established flows."""
    idle_after_s: int = 3600
    """R17: most applications speak within the hour, or ended without a word."""
    idle_flows: int = 100
    """R17: a share of fewer says nothing."""
    established_shortest_s: int = 7440
    """R17: RFC 5382 REQ-5: two hours and four minutes, for TCP keep-alives."""
    closing_flows: int = 1000
    """R18: fewer closing flows harm no table."""
    close_wait_share: float = 0.20
    """R18: of the TCP flows; a closing flow should stay for seconds."""
    close_wait_timeout_s: int = 3600
    """R18: kube-proxy's; the kernel's own is 60."""
    time_wait_share: float = 0.50
    """R18: of the TCP flows; half of the table waits for nothing."""
    time_wait_table: float = 0.25
    """R18: of the table in use; in an emptier one they harm nobody."""
    flood_flows: int = 1000
    """R19: a busy resolver leaves hundreds unanswered."""
    flood_share: float = 0.50
    """R19: of all flows; a healthy box has a few per cent unanswered."""
    flood_source_share: float = 0.30
    """R19: of the unanswered ones, for one address to be named."""
    expectations_share: float = 0.80
    """R20: of nf_conntrack_expect_max; a few calls or transfers fill the rest."""
    one_way_packets: int = 50
    """R20: a second of speech (RFC 3551: 20 ms each); no answer by then is no call."""
    untracked_packets: int = 10
    """R23: forwarded in an interval: more than a stray ping."""
    elsewhere_flows: int = 1000
    """R24: tracked in other namespaces; fewer are a host's idle containers."""
    allowance_share: float = 0.20
    """R28: left of what a cloud tracks; a burst of minutes uses the rest."""
    keepalive_share: float = 0.80
    """R29: of the timeout; one lost keep-alive, or a late one, ends the mapping."""
    keepalive_packets: int = 5
    """R29: fewer give no mean."""
    softirq_share: float = 0.80
    """R33: of a CPU's time; a queue grows from about there on."""
    softnet_packets: int = 1
    """R33: any packet the backlog drops is lost."""
    load_warning: float = 4.0
    """R02: entries a chain; below, a look-up costs next to nothing."""
    load_critical: float = 15.0
    """R02: with chains limited to 40, refusals began here (netdev, 2023-03-07)."""
    ports_warning: float = 0.70
    """R03: time to act; the search for a port still finds one."""
    ports_high: float = 0.85
    """R03: with 64,512 ports the kernel dropped the first flow at 86.6 % (measured)."""
    ports_critical: float = 0.95
    """R03: one new flow in twenty is lost (measured)."""
    ports_fewest: int = 8
    """R03: a range of fewer ports is meant for fixed services."""
    ports_race: float = 0.50
    """R04: with more in use, finding no port is likelier than a race."""
    same_counters: float = 0.05
    """R03, R04: insert_failed and drop are of the same packets if so close."""
    races: int = 3
    """R04: flows lost in the interval; one or two are no pattern."""
    dns_share: float = 0.30
    """R05: of UDP flows, those to port 53."""
    clashes: int = 10
    """R05: settled races in the interval that are worth a word."""
    early_drops: int = 1
    """R06: each is a flow that was thrown out."""
    forward_hits: int = 2
    """R11: packets that opened no flow; one may have been refused by the target."""

    def of_ports(self, share: float) -> Severity | None:
        """How bad it is that so many ports towards one destination are taken."""
        steps = (self.ports_warning, self.ports_high, self.ports_critical)
        return severity(share, *steps)

    def of_table(self, share: float) -> Severity | None:
        """How bad it is that so much of the table is in use."""
        steps = (self.table_warning, self.table_high, self.table_critical)
        return severity(share, *steps)


def severity(
    value: float, warning: float, high: float, critical: float
) -> Severity | None:
    """The step a value has reached; None: not even the first."""
    if value >= critical:
        return Severity.CRITICAL
    if value >= high:
        return Severity.HIGH
    return Severity.WARNING if value >= warning else None


DEFAULT = Thresholds()
