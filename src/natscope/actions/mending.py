"""Run what a finding recommends; settings can be made lasting, and taken back.

Every setting is written down before it is changed, one JSON object a line, beside the
undo files of flows.  A lasting one stands in a file of sysctl.d(5) of our own.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from natscope.errors import NatscopeError
from natscope.sources import journal, tools
from natscope.sources.netns import open_namespace

LASTING = Path("/etc/sysctl.d/90-natscope.conf")
_SYSCTLS = Path("/proc/sys")
_HEADING = "# Settings natscope doctor --fix made lasting; --unfix takes them back.\n"
_UNFIX_HINT = "natscope doctor --unfix takes a setting back that --fix changed"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that was changed."""

    name: str
    """As sysctl(8) writes it."""
    before: str
    after: str
    netns: str | None = None
    is_lasting: bool = False
    kept: str | None = None
    """Of a lasting one: what the file said before; None: nothing."""


def run(command: str, netns: str | None = None) -> str:
    """Run a command of the shell in a namespace; what it prints, and its warnings.

    Of several lines the first that fails is the last.

    Raises:
        NatscopeError: it failed; the message holds what it said.
    """
    # natscope itself may stand where a root's PATH does not lead
    path = f'PATH="$PATH":{shlex.quote(str(Path(sys.executable).parent))}'
    with _inside(netns):
        return "".join(tools.told(["sh", "-ec", f"{path}\n{command}"]))


def change(
    name: str, value: str, *, netns: str | None = None, lasting: Path | None = None
) -> Setting:
    """Change a setting.

    Args:
        name: as sysctl(8) writes it.
        value: what it shall be.
        netns: where; None is the calling thread's namespace.
        lasting: a file of sysctl.d(5) to write it into as well.

    Raises:
        NatscopeError: there is no such setting, or it is not ours to change; then
            nothing is.
    """
    kept = None if lasting is None else _kept(lasting, name)
    before = _read(name, netns)
    made = Setting(name, before, value, netns, lasting is not None, kept)
    _write_down([*written_down(), made])
    try:
        if lasting is not None:
            _keep(lasting, name, value)
        _write(name, value, netns)
    except (NatscopeError, OSError):
        if lasting is not None and lasting.exists():
            _keep(lasting, name, kept)
        _write_down(written_down()[:-1])
        raise
    return made


def take_back(lasting: Path = LASTING) -> Setting:
    """Put back the last setting that was changed.

    Raises:
        NatscopeError: none was, or somebody has changed it since.
    """
    settings = written_down()
    if not settings:
        raise NatscopeError("no setting to take back", hint=_UNFIX_HINT)
    last = settings[-1]
    now = _read(last.name, last.netns)
    if now != last.after:
        raise NatscopeError(
            f"{last.name} is {now}: somebody has changed it since it was set to "
            f"{last.after}",
            hint=f"sysctl -w {last.name}='{last.before}' puts back what it was before",
        )
    _write(last.name, last.before, last.netns)
    if last.is_lasting:
        _keep(lasting, last.name, last.kept)
    _write_down(settings[:-1])
    return last


def written_down() -> list[Setting]:
    """Settings that were changed and not taken back, the last one last.

    Raises:
        NatscopeError: somebody else has written there.
    """
    try:
        lines = _place().read_text().splitlines()
        return [Setting(**json.loads(line)) for line in lines]
    except FileNotFoundError:
        return []
    except (TypeError, ValueError) as error:
        raise NatscopeError(
            f"{_place()} holds what natscope has not written: {error}",
            hint="move it away; what it was to take back is then yours to set",
        ) from error


def _place() -> Path:
    return journal.directory().parent / "settings.jsonl"


def _write_down(settings: list[Setting]) -> None:
    place = _place()
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = (json.dumps(asdict(one)).encode() + b"\n" for one in settings)
    journal.write(place, lines)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines(keepends=True) if file.exists() else [_HEADING]


def _kept(file: Path, name: str) -> str | None:
    """What a file of sysctl.d(5) sets; of several lines the last is in force."""
    told = [line.partition("=") for line in _lines(file)]
    values = [value.strip() for word, _, value in told if word.strip() == name]
    return values[-1] if values else None


def _keep(file: Path, name: str, value: str | None) -> None:
    """Put a line into a file of sysctl.d(5), or take it out."""
    kept = [line for line in _lines(file) if line.partition("=")[0].strip() != name]
    if value is not None:
        kept.append(f"{name} = {value}\n")
    if kept == [_HEADING]:
        file.unlink(missing_ok=True)
        return
    is_new = not file.exists()
    journal.write(file, [line.encode() for line in kept])
    if is_new:
        file.chmod(0o644)  # as the others of sysctl.d


def _path(name: str) -> Path:
    """sysctl(8): where dots separate, a slash is a dot of an interface's name."""
    swapped = name.translate(str.maketrans("./", "/."))
    path = (_SYSCTLS / swapped).resolve()
    if not path.is_relative_to(_SYSCTLS):
        raise NatscopeError(f"{name} is no setting")
    return path


def _read(name: str, netns: str | None) -> str:
    try:
        with _inside(netns):
            return _path(name).read_text().strip()
    except OSError as error:
        raise NatscopeError(f"{name}: {error.strerror or error}") from error


def _write(name: str, value: str, netns: str | None) -> None:
    try:
        with _inside(netns):
            _path(name).write_text(value)
    except OSError as error:
        raise NatscopeError(
            f"setting {name} to {value}: {error.strerror or error}",
            hint="root alone may, and some settings in the initial namespace alone",
        ) from error


@contextmanager
def _entered(netns: str) -> Iterator[None]:
    with open_namespace(netns) as namespace, namespace.enter():
        yield


def _inside(netns: str | None) -> AbstractContextManager[None]:
    return nullcontext() if netns is None else _entered(netns)
