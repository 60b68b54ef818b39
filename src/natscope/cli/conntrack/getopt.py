"""getopt_long(3) as glibc has it: the manners conntrack's users rely on.

Words that are no options are stepped over, letters bundle (``-Lo xml``), long
options may be cut short while they stay unambiguous, ``--`` ends the options.
Python's own getopt differs in all that an error message can show, such as
which word is blamed.  POSIXLY_CORRECT is not heeded.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Longs = Mapping[str, tuple[int, str]]
    """Long options: name to whether it takes an argument, and its key."""

NOTHING, ARGUMENT, OPTIONAL = range(3)
"""What an option takes: no_argument, required_argument, optional_argument."""


class UnknownOption(Exception):
    """``word`` is what glibc's optind has just passed: often the culprit."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class MissingArgument(UnknownOption):
    """An option that needs an argument is the last word."""


class Getopt:
    """The words of a command line, read one option at a time.

    ``words[0]`` is the name of the program, as in main().
    """

    __slots__ = ("_bundle", "_first", "_last", "_letters", "_longs", "_next", "_words")

    def __init__(
        self, words: Sequence[str], letters: Mapping[str, int], longs: Longs
    ) -> None:
        self._words = list(words)
        self._letters = letters
        self._longs = dict(longs)
        self._next = 1  # glibc's optind
        self._bundle = ""  # letters left of the current word
        # words stepped over, which exchange places with later options
        self._first = self._last = 1

    def add(self, longs: Longs) -> None:
        """Know more long options from here on."""
        self._longs.update(longs)

    def option(self) -> tuple[str, str | None] | None:
        """The next option's key and argument; None at the end.

        Raises:
            UnknownOption: or its kind MissingArgument.
        """
        if not self._bundle:
            self._step_over()
            if self._next == len(self._words):
                return None
            word = self._words[self._next]
            if word.startswith("--"):
                return self._long(word[2:])
            self._bundle = word[1:]
        return self._letter()

    def optional_word(self) -> str | None:
        """The next word as an optional argument, unless it begins with - or !.

        conntrack's own rule, which getopt_long(3) does not have.
        """
        if self._next < len(self._words):
            word = self._words[self._next]
            if not word.startswith(("-", "!")):
                self._next += 1
                return word
        return None

    def _step_over(self) -> None:
        """Find the next option; words before it are moved behind those read."""
        if self._first == self._last:
            self._first = self._next
        elif self._last != self._next:
            self._exchange()
        while self._next < len(self._words) and not _is_option(self._words[self._next]):
            self._next += 1
        self._last = self._next
        if self._next < len(self._words) and self._words[self._next] == "--":
            self._next = len(self._words)

    def _exchange(self) -> None:
        options = self._words[self._last : self._next]
        skipped = self._words[self._first : self._last]
        self._words[self._first : self._next] = options + skipped
        self._first += len(options)
        self._last = self._next

    def _letter(self) -> tuple[str, str | None]:
        letter, self._bundle = self._bundle[0], self._bundle[1:]
        attached, takes = self._bundle, self._letters.get(letter)
        if not attached:
            self._next += 1
        if takes is None:
            raise UnknownOption(self._words[self._next - 1])
        if takes == NOTHING:
            return letter, None
        self._bundle = ""
        if attached:
            self._next += 1
            return letter, attached
        return letter, self._argument() if takes == ARGUMENT else None

    def _long(self, word: str) -> tuple[str, str | None]:
        self._next += 1
        name, equals, value = word.partition("=")
        found = self._longs.get(name)
        if found is None:
            meant = {o for known, o in self._longs.items() if known.startswith(name)}
            if len(meant) != 1:
                raise UnknownOption(self._words[self._next - 1])
            (found,) = meant
        takes, key = found
        if equals:
            if takes == NOTHING:
                raise UnknownOption(self._words[self._next - 1])
            return key, value
        return key, self._argument() if takes == ARGUMENT else None

    def _argument(self) -> str:
        if self._next == len(self._words):
            raise MissingArgument(self._words[-1])
        self._next += 1
        return self._words[self._next - 1]


def _is_option(word: str) -> bool:
    return word[:1] == "-" and word != "-"


def words_of_line(line: str) -> list[str]:
    """The words of one line of a ``--load-file``; none in a blank or a comment.

    Blanks separate; within ``"`` they do not, and ``\\`` takes the next
    character as it is.  A closing quote ends the word.
    """
    line = line.strip(" \t\r\n")
    if line.startswith("#"):
        return []
    words: list[str] = []
    word, quoted, escaped = "", False, False
    for character in line:
        if quoted and (escaped or character not in '\\"'):
            word, escaped = word + character, False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
            if not quoted:
                words.append(word)
                word = ""
        elif character not in " \t":
            word += character
        elif word:
            words.append(word)
            word = ""
    return [*words, word] if word else words
