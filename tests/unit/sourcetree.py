"""The package's own source, parsed once: what the architecture tests read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "natscope"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported module; ``deferred`` when inside a function."""

    module: str
    deferred: bool
    line: int


@dataclass(frozen=True)
class Module:
    """A module of the package."""

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def layer(self) -> str:
        """The folder or top-level module it belongs to; the root is ``natscope``."""
        return layer_of(self.name)

    def imports(self) -> Iterator[Import]:
        """Every module this one imports, wherever the statement stands.

        Imports for type checkers count: they are a dependency of meaning.
        """
        inside = {
            child
            for function in self.functions()
            for child in ast.walk(function)
            if isinstance(child, ast.Import | ast.ImportFrom)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node in inside, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno}: relative import"
                for alias in node.names:
                    module = _named(node.module or "", alias.name)
                    yield Import(module, node in inside, node.lineno)

    def functions(self) -> Iterator[Function]:
        """Every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node


def layer_of(module: str) -> str:
    """The layer a module's name puts it in."""
    return ".".join(module.split(".")[:2]).removeprefix("natscope.")


@cache
def modules() -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text()
        name = _name(path)
        found[name] = Module(name, path, ast.parse(text, str(path)), text.count("\n"))
    return found


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _names() -> frozenset[str]:
    return frozenset(_name(path) for path in PACKAGE.rglob("*.py"))


def _named(module: str, name: str) -> str:
    """``from module import name`` names a module when there is one, else an object."""
    return f"{module}.{name}" if f"{module}.{name}" in _names() else module
