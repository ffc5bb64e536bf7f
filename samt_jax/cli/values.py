"""Kinds of values that options take; what is wrong with one is said in one sentence.

Each kind is a tyro primitive that takes all the words after its flag, so that a missing
value, a second one and a stray word are its to complain of, and not of the parser's.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tyro.constructors import PrimitiveConstructorSpec

# Of anything that is counted: beyond it is a slip of the finger.
MOST = 1_000_000


class UsageError(Exception):
    """Bad usage or bad input; the message is one sentence for the user.

    Not a `ValueError`: tyro would catch that and draw a box around it.
    """


def choice(flag: str, allowed: Sequence[str], default: str = "") -> Any:
    """One of these words."""
    metavar = "{" + ",".join(allowed) + "}"
    return _one(flag, metavar, _member(allowed), _one_of(allowed), default)


def several(flag: str, allowed: Sequence[str], default: str = "") -> Any:
    """One or more of these words."""
    metavar = "{" + ",".join(allowed) + "} ..."
    return _many(flag, metavar, _member(allowed), _one_of(allowed), default)


def whole_number(flag: str, low: int = 1, high: int = MOST, default: str = "") -> Any:
    """A whole number in a range, ends included."""
    read, what = _whole(low, high)
    return _one(flag, "INT", read, what, default)


def whole_numbers(flag: str, low: int = 1, high: int = MOST, default: str = "") -> Any:
    """One or more whole numbers in a range, ends included."""
    read, what = _whole(low, high)
    return _many(flag, "INT ...", read, what, default)


def positive(flag: str, default: str = "") -> Any:
    """A positive number."""
    return _one(
        flag, "FLOAT", _real(lambda x: 0 < x < math.inf), "a positive number", default
    )


def multiplier(flag: str, high: int, default: str = "") -> Any:
    """A positive number up to a largest one."""
    what = f"a positive number up to {high}"
    return _one(flag, "FLOAT", _real(lambda x: 0 < x <= high), what, default)


def nonnegative(flag: str, default: str = "") -> Any:
    """Zero or a positive number."""
    return _one(
        flag,
        "FLOAT",
        _real(lambda x: 0 <= x < math.inf),
        "0 or a positive number",
        default,
    )


def interval(flag: str, default: str = "") -> Any:
    """Two numbers from 0 on, the smaller one first."""
    what = "0 or a positive number"

    def from_words(given: list[str]) -> tuple[float, ...]:
        read = _real(lambda x: 0 <= x < math.inf)
        ends = tuple(_read(flag, word, read, what) for word in given)
        if len(ends) != 2 or ends[0] > ends[1]:
            raise UsageError(
                f"{flag} takes two values, low and high with low <= high, each {what}; "
                f"got {' '.join(given) or 'none'}."
            )
        return ends

    return _spec("LOW HIGH", from_words, default)


def share(flag: str, default: str = "") -> Any:
    """A number from 0 to 1."""
    return _one(
        flag, "FLOAT", _real(lambda x: 0 <= x <= 1), "a number from 0 to 1", default
    )


def switch(flag: str, default: str = "") -> Any:
    """Yes or no."""
    words = {"yes": True, "no": False}
    return _one(flag, "{yes,no}", words.__getitem__, "yes or no", default)


def words(flag: str, metavar: str, default: str = "") -> Any:
    """One or more words, whatever they are."""
    return _many(flag, metavar, str, "a word", default)


def folder(flag: str, default: str = "") -> Any:
    """A folder that exists."""

    def read(word: str) -> Path:
        path = Path(word).expanduser()
        # The empty word would be the current folder.
        if not word or not path.is_dir():
            raise ValueError
        return path

    return _one(flag, "FOLDER", read, "a folder that exists", default)


def path(flag: str, default: str = "", what: str = "folder") -> Any:
    """A path; whether it will do is decided elsewhere."""

    def read(word: str) -> Path:
        if not word or "\0" in word:
            raise ValueError
        return Path(word).expanduser()

    return _one(flag, what.upper(), read, f"the path of a {what}", default)


def _member(allowed: Sequence[str]) -> Callable[[str], str]:
    def read(word: str) -> str:
        if word not in allowed:
            raise ValueError
        return word

    return read


def _one_of(allowed: Sequence[str]) -> str:
    return f"one of {', '.join(allowed)}"


def _whole(low: int, high: int) -> tuple[Callable[[str], int], str]:
    def read(word: str) -> int:
        number = int(word)
        if not low <= number <= high:
            raise ValueError
        return number

    return read, f"a whole number from {low} to {high}"


def _real(is_allowed: Callable[[float], bool]) -> Callable[[str], float]:
    def read(word: str) -> float:
        number = float(word)
        if not is_allowed(number):
            raise ValueError
        return number

    return read


def _one(
    flag: str, metavar: str, read: Callable[[str], Any], what: str, default: str
) -> PrimitiveConstructorSpec:
    def from_words(given: list[str]) -> Any:
        if len(given) != 1:
            was = f"got {len(given)}: {' '.join(given)}" if given else "got none"
            raise UsageError(f"{flag} takes one value, {what}, and {was}.")
        return _read(flag, given[0], read, what)

    return _spec(metavar, from_words, default)


def _many(
    flag: str, metavar: str, read: Callable[[str], Any], what: str, default: str
) -> PrimitiveConstructorSpec:
    def from_words(given: list[str]) -> tuple:
        if not given:
            raise UsageError(f"{flag} takes one value or more, each {what}; got none.")
        return tuple(_read(flag, word, read, what) for word in given)

    return _spec(metavar, from_words, default)


def _read(flag: str, word: str, read: Callable[[str], Any], what: str) -> Any:
    try:
        return read(word)
    except (ValueError, KeyError, OverflowError, OSError):
        shown = word if len(word) < 80 else word[:77] + "..."
        raise UsageError(f"{flag} is {shown!r}; it must be {what}.") from None


def _spec(
    metavar: str, from_words: Callable[[list[str]], Any], default: str
) -> PrimitiveConstructorSpec:
    def shown(value: Any) -> list[str]:
        if value is None:
            return [default or "none"]
        return [str(part) for part in (value if isinstance(value, tuple) else (value,))]

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=metavar,
        instance_from_str=from_words,
        is_instance=lambda value: True,
        str_from_instance=shown,
    )
