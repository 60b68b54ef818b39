"""One filter, three ways to apply it: columns, records, kernel."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from natscope import uapi
from natscope.errors import FilterError
from natscope.filter import Filter, KernelFilter, KernelTuple, parse
from natscope.filter.syntax import Not, Tree
from natscope.filter.vocabulary import WORDS
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable
from property.filter_trees import terms, trees
from strategies import evidence, flows


@given(rows=st.lists(flows(), max_size=12), tree=trees(), box=evidence())
def test_columns_and_records_agree_on_what_matches(
    rows: list[Flow], tree: Tree, box: Evidence
) -> None:
    wanted = Filter("", tree)
    mask = wanted.mask(FlowTable.from_flows(rows), box)
    assert mask.tolist() == [wanted.matches(flow, box) for flow in rows]


@given(rows=st.lists(flows(), max_size=12), term=terms(), box=evidence())
def test_not_matches_exactly_the_other_flows(
    rows: list[Flow], term: Tree, box: Evidence
) -> None:
    table = FlowTable.from_flows(rows)
    given_, other = Filter("", term), Filter("", Not(term))
    assert (given_.mask(table, box) != other.mask(table, box)).all()


@given(trees())
def test_the_normal_form_parses_back_to_the_same_filter(tree: Tree) -> None:
    written = str(Filter("", tree))
    assert parse(written).tree == tree
    assert str(parse(written)) == written


@given(flow=flows(wire=True), tree=trees(), box=evidence())
def test_the_kernel_keeps_every_flow_that_is_meant(
    flow: Flow, tree: Tree, box: Evidence
) -> None:
    wanted = Filter("", tree)
    if wanted.matches(flow, box):
        assert kernel_keeps(wanted.kernel(), flow)


@given(tree=trees())
def test_the_kernel_is_asked_only_what_it_answers(tree: Tree) -> None:
    asked = Filter("", tree).kernel()
    if asked.status is not None:
        assert asked.status_mask != 0  # EINVAL
    for one in (asked.orig, asked.reply):
        if one != KernelTuple():
            assert asked.family in (uapi.AF_INET, uapi.AF_INET6)  # EOPNOTSUPP
        if one.src is not None or one.dst is not None:
            assert asked.family == uapi.AF_INET
            assert max(one.src or 0, one.dst or 0) < 1 << 32
        if one.sport is not None or one.dport is not None:
            assert one.proto in (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP)


PIECES = [word.word for word in WORDS]
PIECES += ["and", "or", "not", "!", "(", ")", "&&", ",", ">", "<=", "=", '"', "&"]
PIECES += ["10.0.0.5", "10.0.0.0/8", "fd00::/8", "[::1]:443", "1.2.3.4:5-6", "443"]
PIECES += ["0x1/0xff", "1h30m", "10MB", "1Mbit", "https", "established", "-", "9" * 99]


@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join))
@example("9" * 5000)
@example("age > " + "9" * 5000)
@example("(" * 5000)
@example("not " * 5000 + "tcp")
def test_any_text_is_a_filter_or_an_error_that_points_into_it(text: str) -> None:
    error = refusal(text)
    if error is not None:
        assert 0 <= error.start <= error.end <= len(text)
        assert error.pointer().splitlines()[-1].lstrip().startswith("^")


def refusal(text: str) -> FilterError | None:
    try:
        parse(text)
    except FilterError as error:
        return error
    return None


def kernel_keeps(asked: KernelFilter, flow: Flow) -> bool:
    """ctnetlink_filter_match() and ctnetlink_dump_table() of a dump request."""
    zones = (flow.zone, flow.orig.zone, flow.reply.zone)
    zone = next((zone for zone in zones if zone is not None), 0)
    mark, status = flow.mark or 0, flow.status or 0
    return (
        asked.family in (uapi.AF_UNSPEC, flow.family)
        and (asked.mark is None or mark & asked.mark_mask == asked.mark)
        and (asked.status is None or status & asked.status_mask == asked.status)
        and (asked.zone is None or zone == asked.zone)
        and tuple_matches(asked.orig, flow.orig)
        and tuple_matches(asked.reply, flow.reply)
    )


def tuple_matches(asked: KernelTuple, one: FlowTuple) -> bool:
    """ctnetlink_filter_match_tuple(), where it is right: IPv4, TCP and UDP."""
    pairs: list[tuple[int | None, int | None]] = [(asked.proto, one.proto)]
    if one.src.version == 4:
        pairs += [(asked.src, int(one.src)), (asked.dst, int(one.dst))]
    if one.proto in (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP):
        pairs += [(asked.sport, one.sport), (asked.dport, one.dport)]
    return all(want is None or want == have for want, have in pairs)
