"""Checked cases, as people, harnesses and build servers get them."""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ET

from natscope.model.cases import Case, Checked, Difference, Expectation
from natscope.render import checks, draft, junit, tap
from natscope.views.drafting import Draft


def _case(name: str) -> Case:
    return Case(name, (), Expectation(expect="dropped"))


GOOD = Checked(_case("mail is stopped"))
BAD = Checked(
    _case("web <in>"),
    (
        Difference("expect", "forwarded", "dropped: the policy drops it"),
        Difference("to", "10.0.0.3:80", "nothing left"),
    ),
)


def test_a_good_case_is_one_line() -> None:
    assert checks.text(GOOD, checks.Style()) == "ok      mail is stopped\n"


def test_of_a_bad_one_the_columns_are_aligned() -> None:
    assert checks.text(BAD, checks.Style()) == (
        "FAILED  web <in>\n"
        "        expect  expected forwarded    got dropped: the policy drops it\n"
        "        to      expected 10.0.0.3:80  got nothing left\n"
    )


def test_signs_and_colours_are_for_those_who_see_them() -> None:
    style = checks.Style(colour=True, signs=True)
    assert checks.text(GOOD, style) == "\x1b[32m✓\x1b[0m  mail is stopped\n"
    assert checks.text(BAD, style).startswith("\x1b[1m\x1b[31m✗\x1b[0m  web <in>\n")


def test_the_last_line_counts() -> None:
    assert checks.total(1, 0, 0.5) == "1 case, all as expected, 0.50 s\n"
    assert checks.total(2, 1, 0.5) == (
        "3 cases: 1 not as expected, 2 as expected, 0.50 s\n"
    )


def test_a_name_breaks_no_line_of_tap() -> None:
    assert tap.line(Checked(_case("a\nb # c\\d")), 1) == "ok 1 - a b \\# c\\\\d\n"


def test_what_tap_tells_is_yaml_whatever_it_holds() -> None:
    odd = Checked(_case("x"), (Difference("rule", 'a "b": c', "\n"),))
    assert '      expected: "a \\"b\\": c"\n      got: "\\n"\n' in tap.line(odd, 1)


def test_junit_is_well_formed_whatever_it_holds() -> None:
    odd = Checked(_case("\x00 & <\"'>"), (Difference("to", "\x1b]", "]]>"),))
    suite = ET.fromstring(junit.xml([GOOD, BAD, odd], suite="a&b", seconds=1.5))[0]
    assert suite.attrib == {
        "name": "a&b",
        "tests": "3",
        "failures": "2",
        "errors": "0",
        "time": "1.500",
    }
    assert [case.get("name") for case in suite] == [
        "mail is stopped",
        "web <in>",
        "\ufffd & <\"'>",
    ]


def test_programs_get_counts_and_differences() -> None:
    told = checks.document([GOOD, BAD], 0.25)
    assert (told["good"], told["bad"], told["seconds"]) == (1, 1, 0.25)
    assert told["cases"][1]["differences"][1] == {
        "key": "to",
        "expected": "10.0.0.3:80",
        "got": "nothing left",
    }


def test_a_draft_is_toml_and_names_no_case_twice() -> None:
    keys: tuple[tuple[str, str | bool], ...] = (("to", "10.0.0.3:80"), ("reply", True))
    first = Draft('the "web"', "tcp a", keys, "dnat to\n10.0.0.3")
    drafts = [first, first, Draft('the "web"', "tcp b", (), "x", why="a\nrule")]
    text = draft.text(drafts, {"rules": "a\\b.nft", "ip": ["addr.json"]})
    assert tomllib.loads(text) == {
        "rules": "a\\b.nft",
        "ip": ["addr.json"],
        "case": [
            {
                "name": 'the "web"',
                "packet": "tcp a",
                "to": "10.0.0.3:80",
                "reply": True,
            },
            {"name": 'the "web" (2)', "packet": "tcp b"},
        ],
    }
