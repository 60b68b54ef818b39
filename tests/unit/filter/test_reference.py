"""Help and documentation say every word."""

from __future__ import annotations

import re

import pytest

from natscope.filter import parse
from natscope.filter.reference import EXAMPLES, reference_tables, reference_text
from natscope.filter.words import WORDS
from unit.sourcetree import ROOT

PAGE = (ROOT / "docs" / "reference" / "filters.md").read_text()


def test_the_page_holds_the_tables_of_the_code() -> None:
    assert PAGE.endswith(reference_tables())


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.word)
def test_help_and_page_say_every_word(word: object) -> None:
    name = getattr(word, "word", "")
    assert f"`{name}`" in PAGE
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", reference_text())


def test_help_and_page_have_the_same_examples() -> None:
    for text, meaning in EXAMPLES:
        assert f"| `{text}` | {meaning} |" in PAGE
        assert f"  {text}" in reference_text()


def test_help_fits_a_terminal() -> None:
    assert max(map(len, reference_text().splitlines())) <= 79


def test_the_filters_shown_in_the_page_are_filters() -> None:
    written = re.search(r'parse\("(.*)"\)\)\n\'(.*)\'', PAGE)
    assert written is not None
    assert written[2] == str(parse(written[1]))
    for text in re.findall(r"`natscope (?:list|count) ([^`-]+)`", PAGE):
        parse(text)
