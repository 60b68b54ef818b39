"""Every error natscope raises on purpose.

::

    NatscopeError
    ├── DecodeError          bytes that are not what the kernel documents
    │   └── DocumentError    a JSON document that is not what its format documents
    ├── ParseError           text that is not what its format documents
    ├── FilterError          a filter that cannot be understood; points at the word
    ├── UnknownColumn        a column that does not exist
    ├── KernelError          the kernel refused: operation, errno, extended ack
    │   └── PermissionNeeded which capability was missing, and how to get it
    ├── NamespaceError       a network namespace that cannot be found or entered
    └── MissingTool          a program or package that is needed and not installed

A message says what, where, what was needed and what there was; ``hint``, where
there is one, says what to do next.
"""

from __future__ import annotations


class NatscopeError(Exception):
    """Base of all errors of this package."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class DecodeError(NatscopeError):
    """Bytes that are not what the kernel documents.

    ``path`` names the attributes from the outside in, ``offset`` counts bytes
    from the start of the netlink message.
    """

    def __init__(self, reason: str, *, path: tuple[str, ...], offset: int) -> None:
        super().__init__(f"{'.'.join(path)} at byte {offset}: {reason}")
        self.reason = reason
        self.path = path
        self.offset = offset


class DocumentError(DecodeError):
    """A JSON document that is not what its format documents.

    ``path`` names members and places from the outside in; ``offset`` is 0, for a
    parsed document has none.
    """

    def __init__(self, reason: str, *, path: tuple[str, ...]) -> None:
        NatscopeError.__init__(self, f"{'.'.join(path) or 'document'}: {reason}")
        self.reason = reason
        self.path = path
        self.offset = 0


class ParseError(NatscopeError):
    """A line of a saved listing that cannot be read."""

    def __init__(self, reason: str, *, line: int, source: str = "input") -> None:
        super().__init__(f"{source}, line {line}: {reason}")
        self.reason = reason
        self.line = line
        self.source = source


_AROUND = 60
"""Characters of a filter shown on either side of what is wrong."""


class FilterError(NatscopeError):
    """A filter that cannot be understood.

    ``start`` and ``end`` delimit the offending word in ``text``.
    """

    def __init__(
        self, reason: str, *, text: str, start: int, end: int, hint: str | None = None
    ) -> None:
        super().__init__(reason, hint=hint)
        self.reason = reason
        self.text = text
        self.start = start
        self.end = end

    def pointer(self) -> str:
        """The filter with the offending word underlined, on two lines.

        Of a long filter, what stands around the word.
        """
        first = max(0, self.start - _AROUND)
        end = min(self.end, self.start + _AROUND)
        shown = self.text[first : end + _AROUND]
        marks = "^" * max(1, end - self.start)
        return f"{shown}\n{' ' * (self.start - first)}{marks}"


class UnknownColumn(NatscopeError):
    """A column that does not exist; ``hint`` names the nearest."""


class KernelError(NatscopeError):
    """The kernel refused a request.

    ``extack`` is the kernel's own explanation (NLMSGERR_ATTR_MSG) when it gave
    one, ``attribute_offset`` the byte of the request it points at.
    """

    def __init__(
        self,
        operation: str,
        errno: int,
        reason: str,
        *,
        extack: str | None = None,
        attribute_offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        said = f" (kernel: {extack})" if extack else ""
        super().__init__(f"{operation}: {reason}{said}", hint=hint)
        self.operation = operation
        self.errno = errno
        self.extack = extack
        self.attribute_offset = attribute_offset


class PermissionNeeded(KernelError):
    """A capability is missing; ``hint`` names it and the way to get it."""


class NamespaceError(NatscopeError):
    """A network namespace that cannot be found or entered."""


class MissingTool(NatscopeError):
    """A program, package or kernel feature that is needed and not there."""
