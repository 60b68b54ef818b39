"""The bundle file: JSON, one part a line, so that diff(1) shows what changed.

``docs/reference/bundle-format`` is the schema.  A file may come from a stranger:
whatever it holds is a bundle or a DecodeError, and no name in it can be more than
a name to a program that is given it.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator

from natscope.codec.document import from_json, to_json, wrong
from natscope.errors import DocumentError, ParseError
from natscope.model.bundle import Bundle

FORMAT = "natscope.bundle"
VERSION = 2
"""1 had flows as lines of text; the rest is the same."""
LONGEST = 1 << 28
"""Bytes of a document: what a compressed one may grow to."""
MOST_VALUES = 1 << 22
"""In a document: each takes some hundred bytes.  Flows are long texts, not values."""

_INCLUDE = re.compile(
    r"""^(?:(?:[^"\n#]|"[^"\n]*")*[\s;{}])?include\s+["'].*$""", re.MULTILINE
)
_BRACE = re.compile(r'"[^"\n]*"|[{}]')
DEEPEST = 32
"""Braces within braces of a ruleset; nft(8) itself nests five."""
_NO_SET = re.compile(r"^(?!(create|add) |\s*$|#).+$", re.MULTILINE)
"""``save -file``, for one; ipset-save(8) prints none but these."""
_MODPROBE = re.compile(r"^-[^\n\"]* (-M|--modprobe)\b.*$", re.MULTILINE)
"""A program to load modules with (iptables(8))."""
_GZIP = b"\x1f\x8b"
_NAMED = re.compile(re.escape(FORMAT) + r"/(\d{1,6})", re.ASCII)


def encode(bundle: Bundle, *, compressed: bool = False) -> bytes:
    """The file of a bundle; the same bundle always gives the same bytes."""
    told = to_json(bundle)
    assert isinstance(told, dict)
    document = {"format": f"{FORMAT}/{VERSION}", **told}
    text = "".join(_laid_out(document)).encode() + b"\n"
    return gzip.compress(text, mtime=0) if compressed else text


def decode(data: bytes) -> Bundle:
    """The bundle a file holds, compressed or not.

    Raises:
        DecodeError: it is none; the message says which member is wrong, and how.
            A file of a later major version is refused.
    """
    if data.startswith(_GZIP):
        data = _unzipped(data)
    if sum(map(data.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise DocumentError(f"has more than {MOST_VALUES} values", path=())
    try:
        document = json.loads(data)
    except RecursionError:
        raise DocumentError("is nested too deeply", path=()) from None
    except ValueError as error:
        raise DocumentError(f"is no JSON: {error}", path=()) from None
    if not isinstance(document, dict):
        raise wrong("an object", document, ())
    _check_version(document.get("format"))
    if isinstance(document.get("flows"), list):
        document["flows"] = _of_lines(document["flows"])
    bundle = from_json(Bundle, document)
    _check_families(bundle)
    _check_rulesets(bundle)
    return bundle


def _check_version(told: object) -> None:
    found = _NAMED.fullmatch(told) if isinstance(told, str) else None
    if found is None:
        raise wrong(f'"{FORMAT}/{VERSION}"', told, ("format",))
    if not 1 <= int(found[1]) <= VERSION:
        raise DocumentError(
            f"is {found[0]}; this natscope reads up to {FORMAT}/{VERSION}: "
            "use a newer one",
            path=("format",),
        )


def _of_lines(lines: list[object]) -> object:
    """Flows as natscope save or conntrack -L prints them, as version 1 had them."""
    from natscope.codec import flowcolumns
    from natscope.codec.text.listing import parse_listing
    from natscope.table.flowtable import FlowTable

    for at, line in enumerate(lines):
        if not isinstance(line, str):
            raise wrong("a line of text", line, ("flows", str(at)))
    try:
        tables = list(parse_listing(map(str, lines)))
    except ParseError as error:
        path = ("flows", str(error.line - 1))
        raise DocumentError(error.reason, path=path) from None
    return to_json(flowcolumns.pack(FlowTable.concat(tables)))


def _check_families(bundle: Bundle) -> None:
    """Addresses that stand together are of one family, and no prefix is longer."""
    for at, link in enumerate(bundle.links):
        for number, one in enumerate(link.addresses):
            path = ("links", str(at), "addresses", str(number))
            if one.prefix > one.local.max_prefixlen:
                raise wrong("a length of a prefix", one.prefix, (*path, "prefix"))
            if one.peer is not None and one.peer.version != one.local.version:
                raise wrong("an address of one family", str(one.peer), (*path, "peer"))
    for at, rule in enumerate(bundle.rules):
        for name, prefix in (("src", rule.src), ("dst", rule.dst)):
            version = 4 if rule.family == "inet" else 6
            if prefix is not None and prefix.version != version:
                wanted = f"a prefix of {rule.family}"
                raise wrong(wanted, str(prefix), ("rules", str(at), name))


def _check_rulesets(bundle: Bundle) -> None:
    """Nothing that is loaded reads or writes a file of the box it is loaded on."""
    for at, ruleset in enumerate(bundle.rulesets):
        if ruleset.tool == "nft":
            # most have none, and a long text is soon searched for a word
            form = _INCLUDE if "include" in ruleset.text else None
        else:
            form = _NO_SET if ruleset.tool == "ipset" else _MODPROBE
        path = ("rulesets", str(at), "text")
        found = form and form.search(ruleset.text)
        if found:
            raise wrong(f"what {ruleset.tool} saves", found[0].strip(), path)
        if ruleset.tool == "nft" and _depth(ruleset.text) > DEEPEST:
            raise DocumentError("is nested too deeply", path=path)


def _depth(text: str) -> int:
    """How deep braces are nested."""
    depth = deepest = 0
    for found in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _unzipped(data: bytes) -> bytes:
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        text = unzip.decompress(data, LONGEST)
    except zlib.error as error:
        raise DocumentError(f"cannot be decompressed: {error}", path=()) from None
    if unzip.unconsumed_tail:
        raise DocumentError(f"is longer than {LONGEST >> 20} MiB", path=())
    if not unzip.eof:
        raise DocumentError("is cut off", path=())
    if unzip.unused_data:
        raise DocumentError("has more after its end", path=())
    return text


def _laid_out(value: object, depth: int = 0) -> Iterator[str]:
    """JSON with line breaks between parts, but not within one."""
    if not isinstance(value, dict | list) or not _is_broken(value, depth):
        yield json.dumps(value, ensure_ascii=False)
        return
    indent = "\n" + " " * depth
    if isinstance(value, dict):
        opening, closing = "{", "}"
        parts = [(f"{json.dumps(name)}: ", told) for name, told in value.items()]
    else:
        opening, closing = "[", "]"
        parts = [("", told) for told in value]
    for label, told in parts:
        yield f"{opening}{indent} {label}"
        yield from _laid_out(told, depth + 1)
        opening = ","
    yield indent + closing


def _is_broken(value: dict[str, object] | list[object], depth: int) -> bool:
    """Whether each member has a line: of the document, its parts, and of text."""
    if not value or depth < 2:
        return bool(value)
    if isinstance(value, list):
        return not isinstance(value[0], int)
    return isinstance(value.get("text"), list)
