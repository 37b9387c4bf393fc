"""A compiled parser of svmlight text.

Decimal numbers are converted exactly: a mantissa below 2^53 and a power of ten up to 22 are both exact in float64, so
that one multiplication or division rounds once (Clinger 1990). Other tokens are handed back, to be read by ``float``.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

(
    GOOD,
    BAD_LABEL,
    BAD_INDEX,
    NEGATIVE_INDEX,
    ZERO_INDEX,
    LARGE_INDEX,
    REPEATED_INDEX,
    UNSORTED_INDEX,
    BAD_VALUE,
) = range(9)

MAX_INDEX = 10**18 - 1  # every index of up to 18 digits

_POWERS = 10.0 ** np.arange(23)
_NEWLINE, _HASH, _COLON, _COMMA, _MINUS, _PLUS, _POINT, _ZERO, _NINE = (ord(c) for c in "\n#:,-+.09")


@numba.njit(nogil=True, cache=True)
def is_blank(c: int) -> bool:
    """Space, tab or carriage return."""
    return c == 32 or c == 9 or c == 13


@numba.njit(nogil=True, cache=True)
def ends_token(text: NDArray[np.uint8], i: int) -> bool:
    """Whether a token ends before position i."""
    return i >= text.size or is_blank(text[i]) or text[i] == _NEWLINE or text[i] == _HASH


@numba.njit(nogil=True, cache=True)
def number(text: NDArray[np.uint8], i: int) -> tuple[float, int, bool]:
    """Read a decimal number at i: its value, the position after it (i when there is none), and whether it is exact."""
    start, negative = i, False
    if i < text.size and (text[i] == _MINUS or text[i] == _PLUS):
        negative = text[i] == _MINUS
        i += 1
    mantissa, digits, power, seen, past_point = np.int64(0), 0, 0, False, False
    while i < text.size:
        c = text[i]
        if _ZERO <= c <= _NINE:
            seen = True
            if digits < 18:
                mantissa = mantissa * 10 + (np.int64(c) - _ZERO)
                digits += mantissa != 0
                power -= past_point
            else:
                digits += 1
                power += not past_point
        elif c == _POINT and not past_point:
            past_point = True
        else:
            break
        i += 1
    if not seen:
        return 0.0, start, True
    if i < text.size and (text[i] == 101 or text[i] == 69):  # e, E
        j, minus, exponent = i + 1, False, 0
        if j < text.size and (text[j] == _MINUS or text[j] == _PLUS):
            minus = text[j] == _MINUS
            j += 1
        first = j
        while j < text.size and _ZERO <= text[j] <= _NINE:
            if exponent < 100_000:
                exponent = exponent * 10 + (int(text[j]) - _ZERO)
            j += 1
        if j == first:
            return 0.0, start, True
        power += -exponent if minus else exponent
        i = j
    value = float(mantissa)
    exact = digits <= 18 and mantissa < (1 << 53) and -22 <= power <= 22
    if exact:
        value = value / _POWERS[-power] if power < 0 else value * _POWERS[power]
    return -value if negative else value, i, exact or (mantissa == 0 and digits <= 18)


@numba.njit(nogil=True, cache=True)
def has_colon(text: NDArray[np.uint8], i: int) -> bool:
    """Whether the token at position i holds a colon: a feature, and no label."""
    while not ends_token(text, i):
        if text[i] == _COLON:
            return True
        i += 1
    return False


@numba.njit(nogil=True, cache=True)
def parse(
    text: NDArray[np.uint8],
    base: int,
    largest: int,
    listed: bool,
    labels: NDArray[np.float64],
    label_end: NDArray[np.int64],
    line: NDArray[np.int64],
    indptr: NDArray[np.int64],
    ids: NDArray[np.int64],
    values: NDArray[np.float64],
    hard: NDArray[np.int64],
) -> tuple[int, int, int, int, int]:
    """Fill the arrays, which are large enough; returns rows, entries, hard tokens, an error code and its position.

    ``base`` is the number of the first feature, ``largest`` the largest index allowed. A row has one label, or, if they
    are ``listed``, any number of them with commas between; ``label_end`` says where those of each row end. A hard token
    is recorded as (its label, or ~entry; start; end).
    """
    i, row, k, n_labels, n_hard, at_line = 0, 0, 0, 0, 0, 0
    indptr[0] = 0
    while i < text.size:
        while i < text.size and is_blank(text[i]):
            i += 1
        if i < text.size and text[i] != _NEWLINE and text[i] != _HASH:
            token = i
            while not (listed and has_colon(text, i)):
                labels[n_labels], end, exact = number(text, i)
                if end == i:
                    return row, k, n_hard, BAD_LABEL, token
                if not exact:
                    hard[n_hard, 0], hard[n_hard, 1], hard[n_hard, 2] = n_labels, i, end
                    n_hard += 1
                n_labels += 1
                i = end
                if ends_token(text, i):
                    break
                if not (listed and text[i] == _COMMA):
                    return row, k, n_hard, BAD_LABEL, token
                i += 1
            label_end[row], previous = n_labels, -1
            while True:
                while i < text.size and is_blank(text[i]):
                    i += 1
                if i >= text.size or text[i] == _NEWLINE or text[i] == _HASH:
                    break
                start = i
                if (
                    i + 4 <= text.size
                    and text[i] == 113
                    and text[i + 1] == 105
                    and text[i + 2] == 100
                    and (text[i + 3] == _COLON)
                ):  # qid:…
                    while not ends_token(text, i):
                        i += 1
                    continue
                if text[i] == _MINUS:
                    return row, k, n_hard, NEGATIVE_INDEX, start
                index: int = 0
                while i < text.size and _ZERO <= text[i] <= _NINE:
                    if i - start >= 18:
                        return row, k, n_hard, LARGE_INDEX, start
                    index = index * 10 + (int(text[i]) - _ZERO)
                    i += 1
                if i == start or i >= text.size or text[i] != _COLON:
                    return row, k, n_hard, BAD_INDEX, start
                if index < base:
                    return row, k, n_hard, ZERO_INDEX, start
                if index > largest:
                    return row, k, n_hard, LARGE_INDEX, start
                if index <= previous:
                    return row, k, n_hard, REPEATED_INDEX if index == previous else UNSORTED_INDEX, start
                previous = index
                i += 1
                values[k], end, exact = number(text, i)
                if end == i or not ends_token(text, end):
                    return row, k, n_hard, BAD_VALUE, i
                if not exact:
                    hard[n_hard, 0], hard[n_hard, 1], hard[n_hard, 2] = ~k, i, end
                    n_hard += 1
                if values[k] != 0.0 or not exact:
                    ids[k] = index - base
                    k += 1
                i = end
            line[row] = at_line
            row += 1
            indptr[row] = k
        while i < text.size and text[i] != _NEWLINE:  # the rest of a comment
            i += 1
        i += 1
        at_line += 1
    return row, k, n_hard, GOOD, 0
