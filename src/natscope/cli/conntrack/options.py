"""How each option's value is read into the request."""

from __future__ import annotations

from natscope import uapi
from natscope.cli.conntrack import protocols, values
from natscope.cli.conntrack.request import CommandLineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from natscope.cli.conntrack.draft import Draft
    from natscope.cli.conntrack.grammar import Option
    from natscope.cli.conntrack.request import Nat, Spans

    Reader = Callable[[Draft, Option, str], None]

_FAMILIES = {"ipv4": uapi.AF_INET, "ipv6": uapi.AF_INET6}
_NAT = {"src-nat": "snat", "dst-nat": "dnat", "any-nat": "any_nat"}


def read(draft: Draft, option: Option, text: str | None) -> None:
    """Read one option; ``text`` is None where it has no value.

    Raises:
        CommandLineError: with conntrack's words.
    """
    if option.name in _NAT:
        _nat(draft, option, text)
    elif option.name == "label-del" and text is None:
        draft.request.label_del = draft.request.label_del or ()
        _one_kind_of_label(draft)
    else:
        _READERS[option.letter](draft, option, text or "")


def _end(draft: Draft, option: Option, text: str) -> None:
    packed, mask = draft.address(option, text)
    end = option.name[-3:]
    expected = option.name.startswith("tuple-")
    cells = draft.request.expected if expected else draft.request.cells
    cells[f"orig_{end}"] = packed
    if mask is not None:
        draft.request.mask[f"orig_{end}"] = mask
        draft.given.add(f"mask-{end}")


def _mask_end(draft: Draft, option: Option, text: str) -> None:
    packed, _ = draft.address(option, text)
    draft.request.mask[f"orig_{option.name[-3:]}"] = packed


def _reply_end(draft: Draft, option: Option, text: str) -> None:
    packed, mask = draft.address(option, text)
    column = f"reply_{option.name[-3:]}"
    request = draft.request
    request.cells.pop(column, None)
    request.networks.pop(column, None)
    if mask is None:
        request.cells[column] = packed
    else:
        request.networks[column] = (values.masked(packed, mask), mask)


def _proto(draft: Draft, _: Option, text: str) -> None:
    found = protocols.find(text)
    if found is None:
        raise CommandLineError(f"`{text}' unsupported protocol")
    draft.protocol = found
    draft.request.protocol = found.name
    draft.request.cells["proto"] = found.number


def _timeout(draft: Draft, option: Option, text: str) -> None:
    draft.request.cells["timeout"] = number(text, values.U32, option.name)


def _status(draft: Draft, _: Option, text: str) -> None:
    request = draft.request
    for negated, word in draft.negatable(text):
        if word == values.UNREPLIED:
            request.status_clear |= uapi.Status.SEEN_REPLY
        elif negated:
            request.status_clear |= values.STATUS_BITS[word]
        else:
            request.status_set |= values.STATUS_BITS[word]


def _zero(draft: Draft, _: Option, __: str) -> None:
    draft.request.zero = True


def _events(draft: Draft, _: Option, text: str) -> None:
    mask = draft.request.event_mask or 0
    for word in draft.words(text, values.EVENTS):
        mask |= values.EVENTS[word]
    draft.request.event_mask = mask


def _output(draft: Draft, _: Option, text: str) -> None:
    draft.request.output |= frozenset(draft.words(text, values.OUTPUTS))
    output = draft.request.output - {"userspace"}
    # what else JSON could be asked to show is in it anyway
    for alone, others in (("save", output - {"save"}), ("json", output & {"xml"})):
        if alone in output and others:
            raise CommandLineError(
                f"cannot combine {alone} output with any other output type, "
                f"use -o {alone} only",
                1,
            )


def _deprecated(draft: Draft, option: Option, _: str) -> None:
    draft.given.discard(option.name)
    draft.warnings.append(f"WARNING: ignoring -{option.letter}, deprecated option.")


def _mark(draft: Draft, option: Option, text: str) -> None:
    mark = values.mark(text)
    if mark is None:
        raise _unexpected(option, text)
    draft.request.mark = mark


def _cell(draft: Draft, option: Option, text: str) -> None:
    most = values.U16 if option.name.endswith("zone") else values.U32
    found = values.whole(text, most)
    if found is None:
        raise _unexpected(option, text)
    draft.request.cells[option.name.replace("-", "_")] = found


def _family(draft: Draft, _: Option, text: str) -> None:
    family = _FAMILIES.get(text)
    if family is None:
        raise CommandLineError(f"`{text}' unsupported protocol")
    draft.be_of_family(family)


def _buffer_size(draft: Draft, _: Option, text: str) -> None:
    draft.request.buffer_size = number(text, values.INT, "buffer size")


def _label(draft: Draft, option: Option, text: str) -> None:
    request = draft.request
    names = tuple(text.split(","))
    if option.name == "label":
        request.labels += names
    elif option.name == "label-add":
        request.label_add += names
    else:
        request.label_del = (request.label_del or ()) + names
    _one_kind_of_label(draft)


def _one_kind_of_label(draft: Draft) -> None:
    if draft.given >= {"label-add", "label-del"}:
        raise CommandLineError(
            "cannot use --label-add and --label-del at the same time", 1
        )


def _labelmap(draft: Draft, _: Option, text: str) -> None:
    if draft.request.labelmap is not None:
        raise CommandLineError("option `--labelmap' can only be specified once")
    draft.request.labelmap = text


def _nat(draft: Draft, option: Option, text: str | None) -> None:
    field = _NAT[option.name]
    if text is not None:
        setattr(draft.request, field, _translation(draft, option, text))
    elif getattr(draft.request, field) is None:
        setattr(draft.request, field, (None, None, None))


def _translation(draft: Draft, option: Option, text: str) -> Nat:
    """``ADDRESS``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``."""
    address, port = _address_and_port(text)
    spans: Spans | None = None
    if port is not None:
        if not port:
            raise CommandLineError("No port specified after `:'")
        wrong = f"Invalid port `{port}'"
        # a range is written with a dash here: two colons are a mistake
        spans = None if ":" in port else values.spans(port, values.U16)
        if spans is None:
            raise CommandLineError(wrong)
        draft.numbers(option.name, spans, wrong)
    packed, mask = draft.address(option, address)
    if mask is not None:
        packed = values.masked(packed, mask)
    return packed, mask, spans


def _address_and_port(text: str) -> tuple[str, str | None]:
    """The two parts; IPv6 stands in brackets before a port."""
    if "[" in text:
        address, closed, rest = text.partition("[")[2].partition("]")
        if not closed:
            raise CommandLineError("No closing ']' around IPv6 address")
        if not address:
            raise CommandLineError("No IPv6 address specified")
        _, colon, port = rest.partition(":")
        return (address, port) if colon else (text, None)
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, port
    return text, None


def number(text: str, most: int, what: str) -> int:
    """A number in decimal.

    Raises:
        CommandLineError: it is none, or too great.
    """
    found = values.decimal(text, most)
    if found is None:
        raise CommandLineError(f"Invalid {what} `{text}'")
    return found


def _unexpected(option: Option, text: str) -> CommandLineError:
    message = f"unexpected value '{text}' with -{option.letter} option"
    return CommandLineError(message, 1)


_READERS: dict[str, Reader] = {
    **dict.fromkeys("sd[]", _end),
    **dict.fromkeys("{}", _mask_end),
    **dict.fromkeys("rq", _reply_end),
    **dict.fromkeys("icw()", _cell),
    **dict.fromkeys("l<>", _label),
    "p": _proto,
    "t": _timeout,
    "u": _status,
    "z": _zero,
    "e": _events,
    "a": _deprecated,
    "m": _mark,
    "f": _family,
    "o": _output,
    "b": _buffer_size,
    "M": _labelmap,
}
"""By the letter of the option."""


# options of the protocol


def read_of_protocol(draft: Draft, name: str, text: str) -> None:
    """Read one option of the protocol.

    Raises:
        CommandLineError: with conntrack's words; for a number that is none,
            with words like them.
    """
    protocol = draft.protocol
    option = protocol.option(name) if protocol is not None else None
    if protocol is None or option is None:
        # of a protocol whose place a later -p took
        raise CommandLineError(f"Illegal option `--{name}' with this command")
    draft.given.add(name)
    if option.kind == protocols.STATE:
        _state(draft, protocol, text)
    elif option.kind == protocols.ROLE:
        _role(draft, text)
    elif option.kind in (protocols.NUMBER, protocols.TAG):
        found = number(text, option.most, option.what)
        if option.kind == protocols.TAG:  # turned round, as -o save writes it
            found = int.from_bytes(found.to_bytes(4, "little"), "big")
        draft.request.cells[option.column] = found
    else:
        _ports(draft, option, text)


def _ports(draft: Draft, option: protocols.ProtocolOption, text: str) -> None:
    wrong = f"Invalid {option.what} `{text}'"
    spans = values.spans(text, option.most, keys=option.kind == protocols.KEY)
    if spans is None:
        raise CommandLineError(wrong)
    request = draft.request
    cells = (request.cells, request.expected, request.mask)[option.of]
    cells.pop(option.column, None)
    if not draft.numbers(option.name, spans, wrong):
        cells[option.column] = spans[0][0]
        spans = ()
    if option.of == protocols.FLOW:
        request.spans.pop(option.column, None)
        if spans:
            request.spans[option.column] = spans


def _state(draft: Draft, protocol: protocols.Protocol, text: str) -> None:
    aliases = protocol.state_aliases
    names = tuple(aliases.get(name, name) for name in text.split(","))
    for name, written in zip(names, text.split(","), strict=True):
        if name not in protocol.states:
            raise CommandLineError(f"{protocol.unknown_state} `{written}'")
    draft.states(names, f"{protocol.unknown_state} `{text}'")
    draft.request.cells.pop(protocol.state_column, None)
    if len(names) == 1:
        state = protocol.states.index(names[0])
        draft.request.cells[protocol.state_column] = state


def _role(draft: Draft, text: str) -> None:
    for role, name in enumerate(protocols.ROLES):
        if text and name.startswith(text.lower()):
            draft.request.cells["dccp_role"] = role
            return
    raise CommandLineError(f"Unknown DCCP role `{text}'")
