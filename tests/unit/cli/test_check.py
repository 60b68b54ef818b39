"""``natscope check``: what is refused before any twin is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from natscope.cli import main

FILE = '[[case]]\nname = "web"\npacket = "tcp 1.1.1.1 to 2.2.2.2:80 in x"\nout = "y"\n'


@dataclass(frozen=True)
class Case:
    """Words after the command, what the file holds, and what is said."""

    id: str
    words: list[str]
    said: str
    file: str = FILE


CASES = [
    Case("no file", [], "which file?"),
    Case("a file that is not there", ["./nowhere.toml"], "nowhere.toml: No such file"),
    Case("a file to write", ["FILE", "--write"], "--write writes to standard output"),
    Case("nothing of that name", ["FILE", "--only", "x*"], "no case has a name like 'x*'"),
    Case("two boxes", ["FILE", "--bundle", "a", "--ip", "b"], "--bundle has a box of its own"),
    Case("no case", ["FILE"], "there is no case", file="box = 'x'"),
    Case("an empty file", ["FILE"], "there is no case", file=""),
    Case("no text", ["FILE"], "'utf-8' codec", file="\udcff"),
    Case("a wrong word", ["FILE"], "case 'web'.ct: 'y' is none of", file=FILE + "ct = 'y'"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_cannot_be_understood_is_said(
    case: Case, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cases.toml"
    file.write_bytes(case.file.encode(errors="surrogateescape"))
    words = [str(file) if word == "FILE" else word for word in case.words]
    code = main(["check", *words])
    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    assert case.said in err


def test_a_box_that_is_not_there_is_named_from_where_the_file_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cases.toml"
    file.write_text(f"box = 'nowhere.json'\n{FILE}")
    assert main(["check", str(file)]) == 3
    assert f"{tmp_path}/nowhere.json: No such file" in capfd.readouterr().err
