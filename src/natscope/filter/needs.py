"""What a filter relies on: columns, and evidence from beside the table."""

from __future__ import annotations

from natscope.filter.syntax import (
    Changed,
    Hosts,
    Kinds,
    Number,
    Ports,
    State,
    Status,
    Term,
    Text,
    Translated,
    Tree,
    terms_of,
)
from natscope.filter.vocabulary import BY_NAME, PARTS, key
from natscope.table.columns import BY_NAME as COLUMNS


def needs(tree: Tree) -> frozenset[str]:
    """The needs of all terms; :meth:`Filter.needs` says what the words mean."""
    return frozenset(need for term in terms_of(tree) for need in _of_term(term))


def _of_term(term: Term) -> tuple[str, ...]:
    match term:
        case Number(word) | Text(word):
            found = BY_NAME[key(word)]
            columns = tuple(c for c in found.columns if not COLUMNS[c].always)
            return found.needs or columns
        case Status():
            return ("status",)
        case State():
            return ("state",)
        case Kinds():
            return ("addresses",)
        case Translated() | Changed():
            return ()
        case Hosts(where) | Ports(where):
            parts = set(where.qualifiers) & set(PARTS)
            master = ("master_src",) if "master" in where.qualifiers else ()
            return (("addresses",) if parts else ()) + master
