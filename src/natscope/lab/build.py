"""Build the lab: namespaces, links, addresses, rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from natscope.lab import network
from natscope.sources import tools
from natscope.sources.netns import Namespace, new_namespace


class Lab:
    """A built lab: its namespaces by host name."""

    def __init__(self, namespaces: dict[str, Namespace]) -> None:
        self.namespaces = namespaces

    @property
    def box(self) -> Namespace:
        """The NAT box."""
        return self.namespaces[network.BOX]

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Run the body, its sockets and programs, on a host of the lab."""
        with self.namespaces[host].enter():
            yield

    def run(self, host: str, words: Sequence[str], *, stdin: str = "") -> str:
        """Run a program on a host; what it prints.

        Raises:
            MissingTool: the program is not installed.
            NatscopeError: it failed; the message holds what it said.
        """
        with self.inside(host):
            return tools.run(words, stdin=stdin)


@contextmanager
def built() -> Iterator[Lab]:
    """A lab for as long as the body runs.

    Raises:
        MissingTool: ip(8) or nft(8) is not installed.
        NamespaceError: this process may not make namespaces.
    """
    for program in ("ip", "nft"):
        tools.needed(program)
    with ExitStack() as stack:
        names = (network.BOX, network.WORLD, *network.INSIDE)
        lab = Lab({name: stack.enter_context(new_namespace(name)) for name in names})
        _cable(lab)
        _configure(lab)
        yield lab


def _cable(lab: Lab) -> None:
    """A veth pair from the box to every other host."""
    for host in lab.namespaces:
        _set(lab, host, network.SYSCTLS)
    pairs = [("wan", network.WORLD)]
    pairs += [(f"lan-{name}", name) for name in network.INSIDE]
    for port, host in pairs:
        there = lab.namespaces[host].path
        lab.run(
            network.BOX,
            ["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0",
             "netns", there],
        )  # fmt: skip


def _configure(lab: Lab) -> None:
    _set(lab, network.BOX, network.BOX_SYSCTLS)
    _ip(lab, network.BOX, network.BOX_LINKS)
    _ip(lab, network.WORLD, network.WORLD_LINKS)
    ports = ""
    for name, host in network.HOSTS.items():
        _ip(lab, name, network.inside_links(host))
        ports += f"link set lan-{name} master lan\nlink set lan-{name} up\n"
    _ip(lab, network.BOX, ports)
    lab.run(network.BOX, ["nft", "-f", "-"], stdin=network.RULES)


def _set(lab: Lab, host: str, sysctls: Mapping[str, str]) -> None:
    with lab.inside(host):
        for name, value in sysctls.items():
            (Path("/proc/sys") / name).write_text(value)


def _ip(lab: Lab, host: str, batch: str) -> None:
    lab.run(host, ["ip", "-batch", "-"], stdin=batch)
