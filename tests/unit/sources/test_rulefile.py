"""Files of rules, and what they include."""

from __future__ import annotations

from pathlib import Path

import pytest

from natscope.errors import NatscopeError
from natscope.sources import rulefile


def test_what_a_file_includes_stands_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/b.nft").write_text("second\n")
    (tmp_path / "more/a.nft").write_text('include "../own.nft"\nfirst')
    (tmp_path / "own.nft").write_text("# own")
    main = tmp_path / "main.nft"
    main.write_text('begin\n  include "./more/*.nft";\n# include "none"\nend\n')
    assert (
        rulefile.read(main) == 'begin\n# own\nfirst\nsecond\n\n# include "none"\nend\n'
    )


def test_a_pattern_may_fit_no_file(tmp_path: Path) -> None:
    main = tmp_path / "main.nft"
    main.write_text('include "none.d/*.nft"\nend')
    assert rulefile.read(main) == "\nend"


def test_an_absolute_name_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "one.nft").write_text("one")
    (tmp_path / "sub").mkdir()
    main = tmp_path / "sub/main.nft"
    main.write_text(f'include "{tmp_path}/one.nft"\ninclude "{tmp_path}/o*.nft"\n')
    assert rulefile.read(main) == "one\none\n"


def test_a_file_that_is_not_there_is_named_with_who_includes_it(tmp_path: Path) -> None:
    main = tmp_path / "main.nft"
    main.write_text('include "gone.nft"\n')
    with pytest.raises(NatscopeError, match=r'main\.nft: include "gone\.nft"'):
        rulefile.read(main)


def test_files_that_include_each_other_end(tmp_path: Path) -> None:
    main = tmp_path / "main.nft"
    main.write_text('include "main.nft"\n')
    with pytest.raises(NatscopeError, match="include each other"):
        rulefile.read(main)


def test_bytes_that_are_no_text_stay_what_they_are(tmp_path: Path) -> None:
    main = tmp_path / "main.nft"
    main.write_bytes(b'comment "\xff"')
    assert rulefile.read(main).encode(errors="surrogateescape") == b'comment "\xff"'
