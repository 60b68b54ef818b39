"""The architecture, held by reading the source: who may import whom, who does
input and output, how big things are."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter

import pytest

from unit.sourcetree import Module, layer_of, modules

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "errors uapi",
        "model",
        "table",
        "filter",
        "codec",
        "sources",
        "views actions rehearse trace lab sinks",
        "render natscope",  # natscope: the package's own public names
        "cli tui web",
        "__main__",
    )
)
"""From the bottom up: each may import what is below it, and itself."""

PURE = frozenset(
    {"errors", "uapi", "model", "table", "filter", "codec", "views", "render"}
)
"""Layers that do no input or output: bytes and time come in as arguments."""
DOES_IO = frozenset({"sources", "rehearse", "trace", "lab", "sinks"})
_IO = """
    asyncio concurrent ctypes fcntl glob mmap multiprocessing os pathlib pty queue
    resource select selectors shutil signal socket sqlite3 ssl subprocess tempfile
    termios threading time tty urllib
"""
IO_MODULES = frozenset(_IO.split())
IO_CALLS = frozenset({"open", "input", "print", "exec", "eval"})
IO_METHODS = frozenset({"now", "utcnow", "today", "fromfile", "tofile", "memmap"})
"""Clocks and files reached through modules that are otherwise allowed."""

KNOWN_DEFERRED = {
    # FlowTable's own conversions, so that a table is usable by itself.
    ("natscope.table.flowtable", "natscope.table.interchange"),
}
"""Imports inside functions that would be cycles at the top of a module."""

ONLY_IN = {
    "AF_NETLINK": ("natscope.sources.nlsocket",),
    "sys.stdout": ("natscope.cli.output",),
    "sys.stderr": ("natscope.cli.diagnostics",),
}
"""What one module alone may touch."""

MODULE_LINES, MODULE_STOP = 400, 600
FUNCTION_LINES, FUNCTION_STOP = 40, 80

every_module = pytest.mark.parametrize(
    "module", modules().values(), ids=lambda module: module.name
)


def _height(layer: str) -> int:
    for height, names in enumerate(LAYERS):
        if layer in names:
            return height
    pytest.fail(f"{layer!r} is no layer: LAYERS must say where it stands")


def _own(module: Module) -> list[tuple[str, str]]:
    """What a module imports of the package: (module, where it stands)."""
    return [
        (found.module, f"{module.name}:{found.line} imports {found.module}")
        for found in module.imports()
        if found.module.split(".")[0] == "natscope"
    ]


@every_module
def test_a_layer_imports_what_is_below_it_alone(module: Module) -> None:
    height = _height(module.layer)
    wrong = [
        where
        for imported, where in _own(module)
        if layer_of(imported) != module.layer and _height(layer_of(imported)) >= height
    ]
    assert wrong == []


@every_module
def test_a_layer_without_io_imports_nothing_that_does_any(module: Module) -> None:
    if module.layer not in PURE:
        return
    outside = [
        f"{module.name}:{found.line} imports {found.module}"
        for found in module.imports()
        if found.module.split(".")[0] in IO_MODULES
    ]
    inside = [
        where for imported, where in _own(module) if layer_of(imported) in DOES_IO
    ]
    assert outside + inside == []


@every_module
def test_a_layer_without_io_reads_no_clock_and_opens_no_file(module: Module) -> None:
    if module.layer not in PURE:
        return
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    wrong = [
        f"{module.name}:{call.lineno} calls {ast.unparse(call.func)}"
        for call in calls
        if (isinstance(call.func, ast.Name) and call.func.id in IO_CALLS)
        or (isinstance(call.func, ast.Attribute) and call.func.attr in IO_METHODS)
    ]
    assert wrong == []


def _graph(*, deferred: bool) -> dict[str, set[str]]:
    return {
        name: {
            found.module
            for found in module.imports()
            if found.module in modules()
            and found.module != name
            and (deferred or not found.deferred)
        }
        for name, module in modules().items()
    }


def test_no_module_imports_itself_by_a_detour() -> None:
    TopologicalSorter(_graph(deferred=False)).prepare()  # raises CycleError


def _reaches(graph: dict[str, set[str]], start: str, end: str) -> bool:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name == end:
            return True
        if name not in seen:
            seen.add(name)
            waiting.extend(graph[name])
    return False


def test_cycles_through_functions_are_the_ones_listed() -> None:
    graph = _graph(deferred=True)
    eager = _graph(deferred=False)
    cycles = {
        (name, imported)
        for name, imports in graph.items()
        for imported in imports - eager[name]
        if _reaches(graph, imported, name)
    }
    assert cycles == KNOWN_DEFERRED


@pytest.mark.parametrize("thing", ONLY_IN)
def test_one_module_alone_touches(thing: str) -> None:
    owner, _, attribute = thing.rpartition(".")
    users = {
        name
        for name, module in modules().items()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr == attribute
        and (not owner or ast.unparse(node.value) == owner)
    }
    assert users == set(ONLY_IN[thing])


@every_module
def test_nothing_is_printed_past_the_output_module(module: Module) -> None:
    printed = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert printed == []


@every_module
def test_no_module_is_named_after_nothing(module: Module) -> None:
    name = module.name.rpartition(".")[2]
    assert name not in {"utils", "util", "helpers", "common", "misc", "base_utils"}


def _sizes() -> list[tuple[str, int, int, int]]:
    """Name, lines, the size to aim for and the one never to pass."""
    sizes = []
    for module in modules().values():
        sizes.append((module.name, module.lines, MODULE_LINES, MODULE_STOP))
        for function in module.functions():
            assert function.end_lineno is not None
            lines = function.end_lineno - function.lineno + 1
            name = f"{module.name}.{function.name}"
            sizes.append((name, lines, FUNCTION_LINES, FUNCTION_STOP))
    return sizes


def test_nothing_is_too_big_and_what_is_big_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = _sizes()
    with capsys.disabled():
        for name, lines, aim, stop in sizes:
            if aim < lines <= stop:
                sys.stdout.write(f"\n  {name}: {lines} lines, aim at {aim}")
    assert [(name, lines) for name, lines, _, stop in sizes if lines > stop] == []
