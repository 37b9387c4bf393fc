"""Delimited text (CSV, TSV) becomes tables of strings.

Fields are separated by one character and may stand in quotation marks, doubled inside (RFC 4180). Lines end with LF or
CRLF; blank lines are skipped; the text is UTF-8, with or without a byte order mark. A quoted field may run over a line
end only with ``quoted_newlines``; a row is then known by the line on which it begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from blockdot.errors import DataError
from blockdot.ingest.plan import BOM, Piece
from blockdot.ingest.spec import DataSpec
from blockdot.ingest.table import Table

_LARGEST = 2**31 - 2  # the parser's limit on a block of text


def read(piece: Piece, needed: Sequence[str], spec: DataSpec) -> Table:
    """The columns ``needed`` of a piece, as strings. Raises DataError with file and line."""
    assert piece.columns is not None
    text = piece.data if piece.data.endswith(b"\n") else piece.data + b"\n"
    _refuse_other_encodings(piece, text)
    _refuse_bare_returns(piece, text)
    if spec.quoted_newlines and text.count(b'"') % 2:
        raise _open_quote(piece, text, spec)
    lines = _row_lines(piece, text, spec)
    # One more row, of known shape: it is swallowed if a quotation mark before it was never closed.
    end = spec.separator.encode().join([b"0"] * len(piece.columns)) + b"\n"
    table = _parse(piece, text + end, lines, needed, spec)
    if table.num_rows != len(lines) + 1:
        raise _open_quote(piece, text, spec)
    rows = table.slice(0, len(lines))
    return Table(piece.place, lines, {name: _one_array(rows.column(name)) for name in needed}, spec.missing)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined


def _parse(piece: Piece, text: bytes, lines: NDArray[np.int64], needed: Sequence[str], spec: DataSpec) -> pa.Table:
    ragged: list[pyarrow.csv.InvalidRow] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    names = list(piece.columns or ())
    if text.startswith(BOM):  # the parser would drop it, and only where a piece happens to begin with it
        text = BOM + text
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, column_names=names, block_size=min(len(text) + 1, _LARGEST)
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=spec.separator,
                quote_char='"' if spec.quoting else False,
                newlines_in_values=spec.quoted_newlines,
                invalid_row_handler=refuse,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                include_columns=list(needed),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _explain(piece, text, lines, ragged, error, spec) from None


def _explain(
    piece: Piece,
    text: bytes,
    lines: NDArray[np.int64],
    ragged: Sequence[pyarrow.csv.InvalidRow],
    error: Exception,
    spec: DataSpec,
) -> DataError:
    if not ragged:
        return DataError(f"{piece.place}:{piece.first_line}: the text from this line on cannot be parsed ({error})")
    row = ragged[0]
    if "\n" in row.text and not spec.quoted_newlines:
        return _open_quote(piece, text, spec)
    line = lines[min(row.number, len(lines)) - 1]
    return DataError(
        f"{piece.place}:{line}: found {row.actual_columns} fields, needed {row.expected_columns} as in the header; "
        "mend the line, or check the delimiter and the quotation marks"
    )


def _row_lines(piece: Piece, text: bytes, spec: DataSpec) -> NDArray[np.int64]:
    """The line on which each row begins: rows end at line ends outside quotation marks, and blank lines are none."""
    data = np.frombuffer(text, np.uint8)
    line_ends = np.flatnonzero(data == ord("\n"))
    row_ends, last_lines = line_ends, np.arange(len(line_ends))
    if spec.quoted_newlines:
        quotes = np.flatnonzero(data == ord('"'))
        outside = np.searchsorted(quotes, line_ends) % 2 == 0
        row_ends, last_lines = line_ends[outside], last_lines[outside]
    starts = np.concatenate(([0], row_ends[:-1] + 1)) if len(row_ends) else row_ends
    first_lines = np.concatenate(([0], last_lines[:-1] + 1)) if len(row_ends) else last_lines
    blank = (row_ends == starts) | ((row_ends == starts + 1) & (data[starts] == ord("\r")))
    lines: NDArray[np.int64] = piece.first_line + first_lines[~blank]
    return lines


def _refuse_other_encodings(piece: Piece, text: bytes) -> None:
    if text.isascii():  # as it nearly always is, and this takes no time
        return
    try:
        text.decode()
    except UnicodeDecodeError as bad:
        line = piece.first_line + text.count(b"\n", 0, bad.start)
        column = bad.start - text.rfind(b"\n", 0, bad.start)
        found = text[bad.start : bad.end]
        raise DataError(
            f"{piece.place}:{line}: byte {column}: found {found!r}, needed UTF-8; convert the file to UTF-8"
        ) from None


def _refuse_bare_returns(piece: Piece, text: bytes) -> None:
    """The parser would end a row at a carriage return alone, and every line number after it would be wrong."""
    if text.count(b"\r") == text.count(b"\r\n"):
        return
    data = np.frombuffer(text, np.uint8)
    at = np.flatnonzero((data[:-1] == ord("\r")) & (data[1:] != ord("\n")))[0]
    line = piece.first_line + text.count(b"\n", 0, int(at))
    raise DataError(
        f"{piece.place}:{line}: found a carriage return inside the line, needed lines that end with LF or CRLF; "
        "convert the line ends"
    )


def _open_quote(piece: Piece, text: bytes, spec: DataSpec) -> DataError:
    odd = [i for i, line in enumerate(text.split(b"\n")) if line.count(b'"') % 2] or [0]
    at = odd[-1] if spec.quoted_newlines else odd[0]  # before the last one, marks may pair up across lines
    remedy = (
        "close the quotation mark"
        if spec.quoted_newlines
        else "set quoted_newlines = true if fields run over line ends, or quoting = false if the mark is only a letter"
    )
    return DataError(
        f"{piece.place}:{piece.first_line + at}: found a quotation mark that is still open at the end of the line, "
        f"needed its partner; {remedy}"
    )
