"""The documentation says what is there, and nothing else."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from natscope import errors
from natscope.model.nat import Kind
from natscope.table.columns import COLUMNS
from unit.sourcetree import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _linked(page: Path) -> list[Path]:
    """Local files a page links to."""
    links = [link for link, _ in LINK.findall(page.read_text()) if ":" not in link]
    return [(page.parent / link).resolve() for link in links]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [str(path) for path in _linked(page) if not path.exists()] == []


def test_every_page_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            waiting += _linked(page)
    assert {_name(page) for page in DOCS.rglob("*.md")} <= {_name(p) for p in reached}


@pytest.mark.parametrize("script", ["reference.py", "manpages.py"])
def test_the_generated_pages_are_what_the_code_says(script: str) -> None:
    done = subprocess.run(
        [sys.executable, f"scripts/{script}", "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_column_is_described() -> None:
    page = (DOCS / "reference" / "columns.md").read_text()
    described = re.findall(r"^\| `(\w+)` \| (?:u?int\d+|bytes|object)", page, re.M)
    assert described == [column.name for column in COLUMNS]


def test_the_glossary_has_every_kind_and_its_letter() -> None:
    page = (DOCS / "glossary.md").read_text()
    letters = re.findall(r"^\| `([-a-z]+)` \|", page, re.M)
    assert sorted(letters) == sorted(kind.letter for kind in Kind)


def test_the_explanation_shows_every_kind() -> None:
    page = (DOCS / "explain" / "how-conntrack-and-nat-work.md").read_text()
    shown = {kind.letter for kind in Kind if f"`{kind.letter}`" in page}
    assert shown == {kind.letter for kind in Kind} - {"-"}


def test_the_error_tree_is_drawn_whole() -> None:
    drawn = re.findall(r"(?:── |^ {4})(\w+)", errors.__doc__ or "", re.M)
    classes = inspect.getmembers(errors, inspect.isclass)
    assert sorted(drawn) == sorted(name for name, _ in classes)


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[([\d.]+)\]", text, re.M)
    assert newest is not None
    assert newest.group(1) == PROJECT["version"]


def test_the_package_and_the_project_agree_on_the_version() -> None:
    import natscope

    assert natscope.__version__ == PROJECT["version"]


def test_every_extra_is_in_the_installation_page() -> None:
    page = (DOCS / "install.md").read_text()
    for extra in PROJECT["optional-dependencies"]:
        assert f"natscope[{extra}]" in page


@pytest.mark.parametrize("command", ["listing", "who", "count", "stats"])
def test_every_long_option_is_in_the_guide(command: str) -> None:
    pages = "".join(page.read_text() for page in DOCS.rglob("*.md"))
    parser = import_module(f"natscope.cli.{command}").parser()
    options = {
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
    assert {option for option in options if option not in pages} == set()
