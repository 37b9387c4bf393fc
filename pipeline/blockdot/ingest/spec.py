"""What raw files hold and how they become features: the options of an ingest, checked before a file is opened.

A column option may be written as a name, or as a table with the name and more: ``label = "y"`` is
``label = {column = "y"}``; the same holds for ``offset`` and for each entry of ``numeric``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from blockdot.errors import SpecError
from blockdot.ingest.rule import Rule

Format = Literal["svmlight", "csv", "tsv", "parquet"]
MISSING_TOKENS = ("", "NA", "NaN", "nan", "null", "NULL")


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Label(_Spec):
    """The column of targets. With a ``rule``, y = 1 where the rule holds and 0 elsewhere.

    An svmlight row has its label in front: there is no ``column`` to name, only a ``rule`` to give, or nothing.

    ``text`` says that labels are names of classes (y = place among the sorted names); by default they are if the first
    label of the first file is not a number.

    With a ``separator`` a row has any number of labels, as ``"news|sport"``: y has a column for each of them, 1 where a
    row has it. An empty field is a row without labels; a list column of a Parquet file needs no cutting, and is read as
    it is. Between the labels of svmlight rows there is ``","``.
    """

    column: str = ""
    rule: str | None = None
    text: bool | None = None
    separator: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rule is not None:
            Rule.parse(self.rule)
            if self.text:
                raise ValueError("give a rule or text = true, not both: a rule makes 0 and 1 of any label")
        if self.separator is not None and not (self.rule is None and self.text is None):
            raise ValueError("a separator goes without rule and text: each label between separators is a name")
        if self.separator is not None and not self.column and self.separator != ",":
            raise ValueError(f'the labels of an svmlight row are separated by ",", not by {self.separator!r}')
        return self

    @property
    def is_list(self) -> bool:
        """Whether a row has any number of labels."""
        return self.separator is not None


class Offset(_Spec):
    """The column of offsets, added to z as it is or as its logarithm (for an exposure in a log-link model)."""

    column: str
    transform: Literal["identity", "log"] = "identity"


class Numeric(_Spec):
    """A column that is one feature, as it is or as log(1 + value)."""

    column: str
    transform: Literal["identity", "log1p"] = "identity"


def _column(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class DataSpec(_Spec):
    """The format of the files and the columns that are no features."""

    format: Format
    label: Annotated[Label | None, BeforeValidator(_column)] = None
    weight: str | None = None
    offset: Annotated[Offset | None, BeforeValidator(_column)] = None
    row_id: str | None = None
    """Rows with one value of this column stay on the same side of a split and in the same fold, and are a cluster."""
    columns: tuple[str, ...] | None = None
    """The names of the columns of delimited files that have no header line."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    missing: tuple[str, ...] = MISSING_TOKENS
    quoting: bool = True
    """False: a quotation mark is a letter like any other."""
    quoted_newlines: bool = False
    """Quoted fields may run over line ends; such a file cannot be cut, so it is one chunk."""
    zero_based: bool = False
    """The indices of an svmlight file count from 0."""
    n_features: int | None = Field(default=None, ge=1)
    """The width of the space of svmlight indices; None: one more than the largest id that occurs."""
    block_bytes: int | None = Field(default=None, ge=1, le=2**30)
    """Bytes of text in a chunk; None: a 64th of all, between 1 MiB and 32 MiB."""
    dtype: Literal["float32", "float64"] = "float32"
    max_expansion: int = Field(default=200, ge=1)
    """How many times its size a compressed file (a Parquet file, too) may become; up to 64 MiB every file may."""
    max_line_bytes: int = Field(default=2**26, ge=1, le=2**30)
    """The longest line of a text file: more is taken for a file without line ends."""

    @model_validator(mode="after")
    def _only_what_the_format_has(self) -> Self:
        tabular = ("weight", "offset", "row_id")
        delimited = ("columns", "delimiter", "missing", "quoting", "quoted_newlines")
        svmlight = ("zero_based", "n_features")
        foreign = {
            "svmlight": tabular + delimited,
            "csv": svmlight,
            "tsv": svmlight,
            "parquet": tuple(name for name in delimited if name != "missing") + svmlight,
        }[self.format]
        for name in foreign:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} does not apply to the format {self.format!r}; leave it out")
        if self.label is not None and (self.label.column == "") != (self.format == "svmlight"):
            needed = 'label = { rule = "> 0" }, { separator = "," } or nothing'
            needed = needed if self.format == "svmlight" else "label.column"
            raise ValueError(f"the label of a file of the format {self.format!r} needs {needed}")
        bare = self.format in ("csv", "tsv") and not self.quoting
        if bare and self.label is not None and self.label.separator == self.separator:
            raise ValueError(f"fields and labels are both separated by {self.separator!r}: set quoting = true")
        if self.quoted_newlines and not self.quoting:
            raise ValueError("quoted_newlines = true needs quoting = true")
        return self

    @property
    def separator(self) -> str:
        """The character between two fields of a delimited file."""
        return self.delimiter or ("\t" if self.format == "tsv" else ",")


class Split(_Spec):
    """Which rows are held out for testing: a ``fraction`` of them, or those whose ``column`` has a ``test`` value."""

    fraction: float | None = Field(default=None, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**64)
    column: str | None = None
    test: tuple[str, ...] = ()

    @field_validator("test", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return [str(v) for v in value] if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.fraction is None) == (self.column is None):
            raise ValueError('a split needs either fraction = 0.2 or column = "day" with test = ["31"]')
        if (self.column is not None) != bool(self.test):
            raise ValueError("column and test go together: the column, and its values that are held out")
        return self


class Calendar(_Spec):
    """A column made from a date: of the ``columns`` year, month, day, or of a ``column`` of dates or times.

    ``layout`` is the form of the text as in strptime ("%y%m%d%H"); None means ISO 8601. Weekdays read Mon … Sun, all
    other parts are numbers.
    """

    columns: tuple[str, str, str] | None = None
    column: str | None = None
    layout: str | None = None
    part: Literal["weekday", "month", "day", "hour", "year"]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.columns is None) == (self.column is None):
            raise ValueError('give either columns = ["year", "month", "day"] or column = "time"')
        if self.columns is not None and (self.part == "hour" or self.layout is not None):
            raise ValueError("year, month and day have neither an hour nor a layout; use column = ...")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns it is made from."""
        return self.columns if self.columns is not None else (self.column or "",)


def _columns(value: object) -> object:
    return [_column(v) for v in value] if isinstance(value, list | tuple) else value


class FeaturesSpec(_Spec):
    """Which columns of a table become features, and how (the layout of the ids is stated in features.py)."""

    numeric: Annotated[tuple[Numeric, ...], BeforeValidator(_columns)] = ()
    hashed: tuple[str, ...] = ()
    one_hot: tuple[str, ...] = ()
    crosses: tuple[tuple[str, ...], ...] = ()
    bits: int = Field(default=18, ge=1, le=40)
    min_count: int = Field(default=1, ge=1)
    missing: Literal["indicator", "zero", "drop", "error"] = "indicator"
    """What a missing number becomes: the value 0 and an indicator of its own, the value 0, a dropped row, an error."""
    derive: dict[str, Calendar] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.numeric or self.hashed or self.one_hot or self.crosses):
            raise ValueError("no features: name columns under numeric, hashed, one_hot or crosses")
        lists = {"numeric": [n.column for n in self.numeric], "hashed": self.hashed, "one_hot": self.one_hot}
        for option, names in lists.items():
            for name in twice(names):
                raise ValueError(f"{option} names the column {name!r} twice")
        for cross in self.crosses:
            if len(set(cross)) < max(len(cross), 2):
                raise ValueError(f"the cross {list(cross)} needs two or more different columns")
        for numeric in self.numeric:
            if numeric.column in self.derive:
                raise ValueError(f"the derived column {numeric.column!r} is a category: hash it or make it one_hot")
        return self

    @property
    def categories(self) -> tuple[str, ...]:
        """All columns that are read as categories, each once."""
        return tuple(dict.fromkeys((*self.one_hot, *self.hashed, *(name for cross in self.crosses for name in cross))))


S = TypeVar("S", bound=BaseModel)
T = TypeVar("T", bound=Hashable)


def twice(names: Iterable[T]) -> list[T]:
    """Those that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def parse_spec(kind: type[S], value: S | Mapping[str, object], where: str) -> S:
    """``value`` as a ``kind``. Raises SpecError, naming the option, what was found and what is needed."""
    if isinstance(value, kind):
        return value
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *(str(part) for part in first["loc"])])
        found = "" if isinstance(first["input"], Mapping) else f"found {first['input']!r}: "
        raise SpecError(f"{place}: {found}{first['msg'].removeprefix('Value error, ')}") from None
