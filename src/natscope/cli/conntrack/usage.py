"""What ``conntrack -h`` shows: conntrack's own words, byte for byte.

Scripts and completions read them; the man page, made from ``grammar`` and
``protocols``, says more.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from natscope.cli.conntrack.request import Request

_USAGE = """\
Command line interface for the connection tracking system. Version {version}
Usage: {program} [commands] [options]

Commands:
  -L [table] [options]\t\tList conntrack or expectation table
  -G [table] parameters\t\tGet conntrack or expectation
  -D [table] parameters\t\tDelete conntrack or expectation
  -I [table] parameters\t\tCreate a conntrack or expectation
  -U [table] parameters\t\tUpdate a conntrack
  -E [table] [options]\t\tShow events
  -F [table]\t\t\tFlush table
  -C [table]\t\t\tShow counter
  -S\t\t\t\tShow statistics

Tables: conntrack, expect, dying, unconfirmed

Conntrack parameters and options:
  -n, --src-nat ip\t\t\tsource NAT ip
  -g, --dst-nat ip\t\t\tdestination NAT ip
  -j, --any-nat ip\t\t\tsource or destination NAT ip
  -m, --mark mark\t\t\tSet mark
  -c, --secmark secmark\t\t\tSet selinux secmark
  -e, --event-mask eventmask\t\tEvent mask, eg. NEW,DESTROY
  -z, --zero \t\t\t\tZero counters while listing
  -o, --output type[,...]\t\tOutput format, eg. xml
  -l, --label label[,...]\t\tconntrack labels
  --labelmap path\t\t\tconnlabel file to use instead of default

Expectation parameters and options:
  --tuple-src ip\tSource address in expect tuple
  --tuple-dst ip\tDestination address in expect tuple

Updating parameters and options:
  --label-add label\tAdd label
  --label-del label\tDelete label

Common parameters and options:
  -s, --src, --orig-src ip\t\tSource address from original direction
  -d, --dst, --orig-dst ip\t\tDestination address from original direction
  -r, --reply-src ip\t\tSource address from reply direction
  -q, --reply-dst ip\t\tDestination address from reply direction
  -p, --protonum proto\t\tLayer 4 Protocol, eg. 'tcp'
  -f, --family proto\t\tLayer 3 Protocol, eg. 'ipv6'
  -t, --timeout timeout\t\tSet timeout
  -u, --status status\t\tSet status, eg. ASSURED
  -w, --zone value\t\tSet conntrack zone
  --orig-zone value\t\tSet zone for original direction
  --reply-zone value\t\tSet zone for reply direction
  -b, --buffer-size\t\tNetlink socket buffer size
  --mask-src ip\t\t\tSource mask address
  --mask-dst ip\t\t\tDestination mask address

"""

# sic: the last line of both says src and means dst
_PORTS = """\
  --orig-port-src\t\toriginal source port
  --orig-port-dst\t\toriginal destination port
  --reply-port-src\t\treply source port
  --reply-port-dst\t\treply destination port
  --mask-port-src\t\tmask source port
  --mask-port-dst\t\tmask destination port
  --tuple-port-src\t\texpectation tuple src port
  --tuple-port-src\t\texpectation tuple dst port
"""
_ICMP = """\
  --{name}-type\t\t\t{name} type
  --{name}-code\t\t\t{name} code
  --{name}-id\t\t\t{name} id
"""
_OF_PROTOCOL = {
    "tcp": _PORTS + "  --state\t\t\tTCP state, fe. ESTABLISHED\n",
    "udp": _PORTS,
    "udplite": _PORTS,
    "sctp": _PORTS
    + "  --state\t\t\tSCTP state, fe. ESTABLISHED\n"
    + "  --orig-vtag\t\toriginal verification tag\n"
    + "  --reply-vtag\t\treply verification tag\n",
    "dccp": _PORTS + "  --state\t\t\tDCCP state, fe. RESPOND\n",
    "icmp": _ICMP.format(name="icmp"),
    "icmpv6": _ICMP.format(name="icmpv6"),
    "gre": _PORTS.replace("port", "key"),
}


def usage(request: Request, program: str, version: str) -> str:
    """The usage, and the options of a protocol where ``-h -p`` asks for them."""
    text = _USAGE.format(program=program, version=version)
    if request.command == "help" and request.protocol is not None:
        known = _OF_PROTOCOL.get(request.protocol, "  no options (unsupported)\n")
        name = request.protocol
        if name not in _OF_PROTOCOL:
            name = _name(request.cells["proto"]) or name
        text += f"Proto `{name}' help:\n{known}"
    return text


def _name(number: int) -> str | None:
    """The name of a protocol number in /etc/protocols: getprotobynumber(3)."""
    try:
        with open("/etc/protocols") as file:  # noqa: PTH123 - pathlib is slow to load
            for line in file:
                words = line.partition("#")[0].split()
                if len(words) > 1 and words[1] == str(number):
                    return words[0]
    except OSError:
        pass
    return None
