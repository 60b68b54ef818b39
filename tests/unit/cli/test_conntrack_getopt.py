"""getopt_long(3) as glibc has it, and the words of a file's line."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.cli.conntrack.getopt import (
    ARGUMENT,
    NOTHING,
    OPTIONAL,
    Getopt,
    MissingArgument,
    UnknownOption,
    words_of_line,
)

LETTERS = {"L": NOTHING, "z": NOTHING, "s": ARGUMENT, "n": OPTIONAL}
LONGS = {
    "dump": (OPTIONAL, "L"),
    "zero": (NOTHING, "z"),
    "src": (ARGUMENT, "s"),
    "source": (ARGUMENT, "s"),
    "src-nat": (OPTIONAL, "n"),
}


def options(line: str) -> list[tuple[str, str | None]]:
    """Every option; optional arguments are taken by conntrack's rule."""
    getopt = Getopt(["conntrack", *line.split()], LETTERS, LONGS)
    found = []
    while (one := getopt.option()) is not None:
        key, argument = one
        if key in "Ln" and argument is None:
            argument = getopt.optional_word()
        found.append((key, argument))
    return found


@dataclass(frozen=True)
class Case:
    id: str
    line: str
    found: list[tuple[str, str | None]]


CASES = [
    Case("nothing", "", []),
    Case("letters", "-L -z", [("L", None), ("z", None)]),
    Case("letters in one word", "-Lz", [("L", None), ("z", None)]),
    Case("an argument after its letter", "-s a", [("s", "a")]),
    Case("an argument in the word", "-sa", [("s", "a")]),
    Case("an argument after a bundle", "-zs a", [("z", None), ("s", "a")]),
    Case("an argument that looks like an option", "-s -L", [("s", "-L")]),
    Case("a dash alone is an argument", "-s -", [("s", "-")]),
    Case("an optional argument, the next word", "-n a", [("n", "a")]),
    Case("an optional argument in the word", "-na", [("n", "a")]),
    Case("no optional argument before an option", "-n -z", [("n", None), ("z", None)]),
    Case("no optional argument that begins with !", "-n !a", [("n", None)]),
    Case("the next word of a bundle's last", "-zn a", [("z", None), ("n", "a")]),
    Case("none for a bundle's first", "-Lz a", [("L", None), ("z", None)]),
    Case("long options", "--zero --src a", [("z", None), ("s", "a")]),
    Case("a long option with =", "--src=a=b", [("s", "a=b")]),
    Case("an empty value", "--src=", [("s", "")]),
    Case("an optional value with =", "--src-nat=a", [("n", "a")]),
    Case("an optional value, the next word", "--src-nat a", [("n", "a")]),
    Case("the beginning of one option", "--z", [("z", None)]),
    Case("a beginning of two names of one option", "--sou a", [("s", "a")]),
    Case("a whole name that begins another", "--src a", [("s", "a")]),
    Case("stray words", "x -L -z y", [("L", None), ("z", None)]),
    Case("a dash alone is a stray word", "- -z", [("z", None)]),
    Case("the end of options", "-z -- -L", [("z", None)]),
    Case("-- is no optional argument", "-n -- a", [("n", None)]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_options_are_found(case: Case) -> None:
    assert options(case.line) == case.found


@dataclass(frozen=True)
class Refused:
    id: str
    line: str
    blamed: str


REFUSED = [
    Refused("a letter", "-x", "-x"),
    Refused("a bundle's last letter", "-Lx", "-Lx"),
    Refused("a bundle's first letter: the word before", "-xL", "conntrack"),
    Refused("and if that is a stray word", "y -xL", "y"),
    Refused("a stray word moved behind the options", "y -L -xL", "y"),
    Refused("the same after -L took a word", "-L y -xL", "y"),
    Refused("a colon is no letter", "-:", "-:"),
    Refused("a long option", "--nope", "--nope"),
    Refused("a beginning of two options", "--s a", "--s"),
    Refused("a value where none is taken", "--zero=3", "--zero=3"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_the_word_glibc_stands_at_is_blamed(case: Refused) -> None:
    with pytest.raises(UnknownOption) as refusal:
        options(case.line)
    assert refusal.value.word == case.blamed


@pytest.mark.parametrize("word", ["-s", "-zs", "--src", "--sou"])
def test_an_argument_that_is_missing_is_told_from_an_unknown_option(word: str) -> None:
    with pytest.raises(MissingArgument) as refusal:
        options(f"-L {word}")
    assert refusal.value.word == word


def test_long_options_can_join_while_words_are_read() -> None:
    getopt = Getopt(["conntrack", "-z", "--sport", "5"], LETTERS, LONGS)
    assert getopt.option() == ("z", None)
    getopt.add({"sport": (ARGUMENT, "sport")})
    assert getopt.option() == ("sport", "5")
    assert getopt.option() is None


@dataclass(frozen=True)
class Line:
    id: str
    line: str
    words: list[str]


LINES = [
    Line("blanks separate", " -A\t-t  5 \n", ["-A", "-t", "5"]),
    Line("an empty line", "\n", []),
    Line("blanks alone", " \t ", []),
    Line("a comment", "  # -F\n", []),
    Line("a hash inside", "-A #5\n", ["-A", "#5"]),
    Line("quotes keep blanks", '-l "vip customer" -F', ["-l", "vip customer", "-F"]),
    Line("an empty word in quotes", '-l "" -F', ["-l", "", "-F"]),
    Line("a backslash in quotes", r'"a\"b\\c"', ['a"b\\c']),
    Line("a backslash elsewhere is one", r"a\b", ["a\\b"]),
    Line("a closing quote ends the word", 'a"b c"d', ["ab c", "d"]),
    Line("a line of DOS", "-F\r\n", ["-F"]),
]


@pytest.mark.parametrize("case", LINES, ids=lambda case: case.id)
def test_a_line_of_a_file_is_split_into_words(case: Line) -> None:
    assert words_of_line(case.line) == case.words
