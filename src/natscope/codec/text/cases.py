"""Files of cases, in TOML: packets, and what must become of them.

::

    box = "router.bundle.json"

    [[case]]
    name = "the web server is reachable"
    packet = "tcp 192.0.2.9 to 203.0.113.1:{port} in wan"
    each = { port = [80, 443] }
    expect = "forwarded"
    out = "lan"
    to = "10.0.0.3:80"

``docs/guide/checking`` is the language.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from ipaddress import ip_network
from itertools import product
from math import prod
from typing import NoReturn

from natscope.codec.text import question as questions
from natscope.errors import DocumentError, FilterError
from natscope.model.cases import (
    NATS,
    OUTCOMES,
    PASSED,
    STATES,
    Box,
    Case,
    CaseFile,
    Endpoint,
    Expectation,
    Step,
)

Path = tuple[str, ...]
REPLY = "reply"
"""In ``packets``: the answer to what left before it."""
_LAST_PORT = 65535
MOST = 1_000_000
"""Cases of one file; beyond, ``each`` has run away."""
_FILE_KEYS = ("box", "rules", "ip", "netns", "case")
_CASE_KEYS = (
    *("name", "packet", "packets", "after", "each"),
    *("expect", "out", "to", "from", "nat", "reply"),
    *("rule", "comment", "reason", "ct", "mark", "ctmark"),
)
_REPLACED = re.compile(r"\{(\w+)\}")
_RANGE = re.compile(r"(\d+)-(\d+)")
_PORTS = re.compile(r"(\d+)(?:-(\d+))?")
_ENDPOINT = 'an address was expected: "10.0.0.3:80", "10.0.0.0/24:1024-65535", "*"'


def parse(text: str) -> CaseFile:
    """The cases of a file.

    Raises:
        DocumentError: with the case, the key and what was expected.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(str(error), path=()) from error
    _known(found, _FILE_KEYS, ())
    tables = found.get("case")
    if not isinstance(tables, list) or not tables:
        _fail((), "there is no case: write [[case]] and its packet under it")
    reader = _Reader()
    for number, table in enumerate(tables, 1):
        reader.read(table, number)
    return CaseFile(_box(found), tuple(reader.cases))


def case(words: str, expectation: Expectation) -> Case:
    """A case of one packet, named by it.

    Raises:
        DocumentError: the packet cannot be read.
    """
    return Case(words, (_step(words, (words,)),), expectation)


def _box(found: Mapping[str, object]) -> Box:
    ip = found.get("ip", [])
    if isinstance(ip, str):
        ip = [ip]
    if not isinstance(ip, list) or not all(isinstance(one, str) for one in ip):
        _fail(("ip",), "a list of files was expected")
    return Box(
        _text(found, "box", ()),
        _text(found, "rules", ()),
        tuple(ip),
        _text(found, "netns", ()),
    )


@dataclass
class _Reader:
    """Reads case by case; a later one may begin after an earlier."""

    cases: list[Case] = field(default_factory=list)
    named: dict[str, Case] = field(default_factory=dict)

    def read(self, table: object, number: int) -> None:
        path: Path = (f"case {number}",)
        if not isinstance(table, dict):
            _fail(path, "a table was expected: [[case]]")
        name = _text(table, "name", path)
        if name is not None:
            path = (f"case {name!r}",)
        _known(table, _CASE_KEYS, path)
        for values in _each(table.get("each", {}), (*path, "each")):
            filled = {key: _filled(one, values, path) for key, one in table.items()}
            unsaid = {k: v for k, v in values.items() if f"{{{k}}}" not in (name or "")}
            self._add(filled, path, unsaid, number)

    def _add(
        self,
        table: Mapping[str, object],
        path: Path,
        unsaid: Mapping[str, str],
        number: int,
    ) -> None:
        """Add one; ``unsaid`` is what tells it from others and its name does not."""
        given = _text(table, "name", path)
        steps = (*self._earlier(table, path), *_steps(table, path))
        name = given or _words(table)
        if unsaid and given is not None:
            said = " ".join(f"{key}={value}" for key, value in unsaid.items())
            name = f"{given} ({said})"
        if name in self.named:
            if given is not None:
                _fail(path, f"two cases have the name {name!r}")
            name = f"{name} (case {number})"
        made = Case(name, steps, _expectation(table, path))
        _sound(table, path)
        if made.expectation.is_empty:
            _fail(path, "nothing is expected: write expect, to, out, nat …")
        if len(self.cases) == MOST:
            _fail(path, f"more than {MOST} cases")
        self.named[name] = made
        self.cases.append(made)

    def _earlier(self, table: Mapping[str, object], path: Path) -> tuple[Step, ...]:
        after = _text(table, "after", path)
        if after is None:
            return ()
        if after not in self.named:
            near = _nearest(after, self.named)
            _fail((*path, "after"), f"no case before it has the name {after!r}{near}")
        earlier = self.named[after]
        answered = (Step(None),) if earlier.expectation.reply is not None else ()
        return (*earlier.steps, *answered)


def _words(table: Mapping[str, object]) -> str:
    """A case without a name is named by its packet."""
    packets = table.get("packets")
    last = packets[-1] if isinstance(packets, list) else table.get("packet")
    return f"{last}: {table['expect']}" if "expect" in table else str(last)


def _each(found: object, path: Path) -> Iterator[dict[str, str]]:
    """What ``{…}`` stands for, one after the other."""
    if not isinstance(found, dict):
        _fail(path, "a table of lists was expected: { port = [80, 443] }")
    lists = [_listed(values, (*path, key)) for key, values in found.items()]
    if (count := prod(map(len, lists))) > MOST:
        _fail(path, f"makes {count} cases; {MOST} are the most")
    for chosen in product(*lists):
        yield dict(zip(found, chosen, strict=True))


def _listed(found: object, path: Path) -> Sequence[str]:
    """A list, or a range of numbers: "5000-5010"."""
    if isinstance(found, str) and (bounds := _RANGE.fullmatch(found)):
        first, last = int(bounds[1]), int(bounds[2])
        if first <= last < first + MOST:
            return [str(number) for number in range(first, last + 1)]
    if not isinstance(found, list) or not found:
        _fail(path, 'a list or a range was expected: [80, 443] or "5000-5010"')
    for one in found:
        if not isinstance(one, str | int) or isinstance(one, bool):
            _fail(path, f"texts and numbers were expected, not {one!r}")
    return [str(one) for one in found]


def _filled(found: object, values: Mapping[str, str], path: Path) -> object:
    """A value with ``{port}`` and the like replaced."""
    if isinstance(found, list):
        return [_filled(one, values, path) for one in found]
    if not isinstance(found, str):
        return found
    missing = [name for name in _REPLACED.findall(found) if name not in values]
    if missing:
        reason = f"{{{missing[0]}}} is in no each{_nearest(missing[0], values)}"
        _fail(path, f"{reason}: each = {{ {missing[0]} = […] }}")
    return _REPLACED.sub(lambda name: values[name[1]], found)


def _steps(table: Mapping[str, object], path: Path) -> Iterator[Step]:
    if ("packet" in table) == ("packets" in table):
        _fail(path, "one of packet and packets was expected")
    packets = table.get("packets", [table.get("packet")])
    key = "packets" if "packets" in table else "packet"
    if not isinstance(packets, list) or not packets:
        _fail((*path, key), "a list of packets was expected")
    for at, words in enumerate(packets):
        if not isinstance(words, str):
            _fail((*path, key), f"a packet in words was expected, not {words!r}")
        if words == REPLY and key == "packets":
            if at == 0 and "after" not in table:
                _fail((*path, key), "a reply needs a packet before it")
            yield Step(None)
        else:
            yield _step(words, (*path, key))


def _step(words: str, path: Path) -> Step:
    try:
        asked = questions.parse(words)
    except FilterError as error:
        hint = f"; {error.hint}" if error.hint else ""
        reason = f"{error}{hint}\n{error.pointer()}"
        raise DocumentError(reason, path=path) from error
    return Step(asked, asked.iif is not None or questions.says_way(words))


def _expectation(table: Mapping[str, object], path: Path) -> Expectation:
    found = Expectation(
        expect=_word(table, "expect", OUTCOMES, path),
        out=_text(table, "out", path),
        src=_endpoint(table, "from", path),
        dst=_endpoint(table, "to", path),
        nat=_word(table, "nat", NATS, path),
        rule=_text(table, "rule", path),
        comment=_text(table, "comment", path),
        reason=_text(table, "reason", path),
        ct=_word(table, "ct", STATES, path),
        mark=_number(table, "mark", path),
        ctmark=_number(table, "ctmark", path),
    )
    reply = table.get("reply")
    if isinstance(reply, bool):
        return replace(found, reply="accepted" if reply else "stopped")
    return replace(found, reply=_word(table, "reply", OUTCOMES, path))


def _sound(table: Mapping[str, object], path: Path) -> None:
    """Refuse what no packet can do."""
    outcome = table.get("expect")
    if not isinstance(outcome, str):
        return
    passes = bool(OUTCOMES[outcome] & PASSED)
    if passes and "reason" in table:
        _fail((*path, "reason"), f"nothing stops a packet that is {outcome}")
    for key in ("out", "to", "from", "nat", "reply"):
        if key in table and not passes:
            _fail((*path, key), f"nothing leaves of a packet that is {outcome}")


def _endpoint(table: Mapping[str, object], key: str, path: Path) -> Endpoint | None:
    text = _text(table, key, path)
    if text is None:
        return None
    path = (*path, key)
    address, ports = _halves(text)
    network, bounds = None, None
    try:
        if address not in ("", "*"):
            network = ip_network(address)
    except ValueError as error:
        _fail(path, f"{_ENDPOINT}, not {text!r}: {error}")
    if ports not in ("", "*"):
        found = _PORTS.fullmatch(ports)
        if found is None:
            _fail(path, f"{_ENDPOINT}, not {text!r}")
        bounds = int(found[1]), int(found[2] or found[1])
        if not bounds[0] <= bounds[1] <= _LAST_PORT:
            _fail(path, f"a port is between 0 and {_LAST_PORT}, not {text!r}")
    return Endpoint(text, network, bounds)


def _halves(text: str) -> tuple[str, str]:
    """Address and port; an IPv6 address beside a port stands in brackets."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        return address, port.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    address, _, port = text.partition(":")
    return address, port


def _word(
    table: Mapping[str, object], key: str, known: Mapping[str, object] | Sequence[str],
    path: Path,
) -> str | None:  # fmt: skip
    text = _text(table, key, path)
    if text is not None and text not in known:
        near = _nearest(text, known)
        _fail((*path, key), f"{text!r} is none of: {', '.join(known)}{near}")
    return text


def _text(table: Mapping[str, object], key: str, path: Path) -> str | None:
    found = table.get(key)
    if found is not None and (not isinstance(found, str) or not found):
        _fail((*path, key), f"a text was expected, not {found!r}")
    return found


def _number(table: Mapping[str, object], key: str, path: Path) -> int | None:
    found = table.get(key)
    if isinstance(found, str):
        try:
            found = int(found, 0)
        except ValueError:
            _fail((*path, key), f"a number was expected, not {found!r}")
    if found is None:
        return None
    if (
        not isinstance(found, int)
        or isinstance(found, bool)
        or not 0 <= found < 1 << 32
    ):
        _fail((*path, key), f"a number of 32 bits was expected, not {found!r}")
    return found


def _known(table: Mapping[str, object], keys: Sequence[str], path: Path) -> None:
    for key in table:
        if key not in keys:
            near = _nearest(key, keys) or f"; there are: {', '.join(keys)}"
            _fail((*path, key), f"there is no such key{near}")


def _nearest(text: str, known: Mapping[str, object] | Sequence[str]) -> str:
    near = get_close_matches(text, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _fail(path: Path, reason: str) -> NoReturn:
    raise DocumentError(reason, path=path)
