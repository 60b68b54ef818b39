"""Tokens know where they stand."""

from __future__ import annotations

from natscope.filter.tokens import Kind, tokens


def test_tokens_cut_the_text_where_they_say() -> None:
    text = 'src 10.0.0.1 , 10.0.0.2&&!(bytes>=10MB or netns "a b") and ::1:id=7'
    found = tokens(text)
    assert all(token.text == text[token.start : token.end] for token in found)
    assert [token.text for token in found] == [
        *("src", "10.0.0.1 , 10.0.0.2", "&&", "!", "(", "bytes", ">=", "10MB"),
        *("or", "netns", '"a b"', ")", "and", "::1:id=7", ""),
    ]
    assert found[-1].kind is Kind.END


def test_elements_of_a_list_know_where_they_stand() -> None:
    text = 'netns edge, "customer a"'
    elements = list(tokens(text)[1].elements())
    assert [element.text for element in elements] == ["edge", "customer a"]
    assert [text[e.start : e.end] for e in elements] == ["edge", '"customer a"']
