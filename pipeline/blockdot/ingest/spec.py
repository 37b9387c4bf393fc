"""What raw files are, and how their columns become features: the tables [data] and [features] of a job spec.

Ids of features, in this order: numeric columns; an indicator "column is missing" for each of them, where missing values
are indicated; the levels of one-hot columns; 2^bits hash slots. A categorical value, and each cross, is the number 1.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Format = Literal["svmlight", "csv", "tsv", "parquet"]
MISSING = ("", "NA", "NaN", "nan", "null", "NULL")

_RULE = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(.+?)\s*|\s*in\s*\[(.*)\]\s*")


class Spec(BaseModel):
    """Base of all specs: unknown keys are refused, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(Spec):
    """A label column, and a rule that makes its values 1 where it holds and 0 where it does not.

    Rules: ``> n``, ``>= n``, ``< n``, ``<= n``, ``== v``, ``!= v``, ``in [v, v, …]``.
    """

    column: str
    rule: str | None = None

    @model_validator(mode="after")
    def _rule_is_known(self) -> Self:
        if self.rule is not None and _RULE.fullmatch(self.rule) is None:
            raise ValueError(f"the rule {self.rule!r} is not of the form '> 15', '== yes' or 'in [a, b]'")
        if self.rule is not None and self.comparison[0] in (">", ">=", "<", "<="):
            try:
                float(self.comparison[1][0])
            except ValueError:
                raise ValueError(f"the rule {self.rule!r} compares with {self.comparison[1][0]!r}: needed a number") from None
        return self

    @property
    def comparison(self) -> tuple[str, tuple[str, ...]]:
        """The operator and its operands."""
        match = _RULE.fullmatch(self.rule or "")
        assert match is not None
        if match[1] is not None:
            return match[1], (match[2].strip("\"'"),)
        return "in", tuple(value.strip().strip("\"'") for value in match[3].split(","))


class Split(Spec):
    """Which rows are the test set.

    By ``fraction``: a row is in it when the hash of its identity falls below the fraction: the same rows on every machine.
    The identity is the value of the column ``by``, or else the file's name (below the folder that all input files share)
    and the row's line. By ``column``: a row is in it when its value is one of ``test``.
    """

    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    by: str | None = None
    seed: int = 0
    column: str | None = None
    test: tuple[str | int | float, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.fraction is None) == (self.column is None):
            raise ValueError("needed either fraction, or column with test")
        if self.column is not None and not self.test:
            raise ValueError(f"the split by column {self.column!r} needs test, the list of values of the test set")
        if self.column is not None and self.by is not None:
            raise ValueError("by goes with fraction, not with column")
        return self


class DataSpec(Spec):
    """How to read the files, and which columns are targets. Columns are for tabular formats; svmlight has its own."""

    format: Format = "svmlight"
    label: Label | None = None
    weight: str | None = None
    offset: str | None = None
    columns: tuple[str, ...] | None = None
    """Names, for a text file without a header line."""
    delimiter: str | None = None
    missing: tuple[str, ...] = MISSING
    quoted_newlines: bool = False
    zero_based: bool = False
    """svmlight: whether indices count from 0."""
    n_features: Annotated[int, Field(ge=1)] | None = None
    """svmlight: the number of features; the default is the largest that occurs."""
    block_bytes: Annotated[int, Field(ge=1)] | None = None
    """Bytes of text a block; the default depends on the size of the files."""
    dtype: Literal["float32", "float64"] = "float32"

    @model_validator(mode="after")
    def _fits_the_format(self) -> Self:
        tabular = {"label", "weight", "offset", "columns", "delimiter", "missing", "quoted_newlines"}
        wrong = (tabular if self.format == "svmlight" else {"zero_based", "n_features"}) & self.model_fields_set
        default = {name for name in wrong if getattr(self, name) == type(self).model_fields[name].default}
        if wrong - default:
            raise ValueError(f"{sorted(wrong - default)[0]} does not go with format = {self.format!r}")
        return self


class Numeric(Spec):
    """A numeric column, and what is done to its values."""

    column: str
    transform: Literal["identity", "log1p"] = "identity"


class Derived(Spec):
    """A column made of a date: of one column with a timestamp, or of three with year, month and day."""

    columns: tuple[str, ...]
    part: Literal["year", "month", "day", "weekday", "hour"]

    @model_validator(mode="after")
    def _one_or_three(self) -> Self:
        if len(self.columns) not in (1, 3):
            raise ValueError("columns is either one column with a timestamp, or year, month and day")
        return self


class FeaturesSpec(Spec):
    """How the columns of a table become features; for svmlight there is nothing to say."""

    numeric: tuple[str | Numeric, ...] = ()
    hashed: tuple[str, ...] = ()
    one_hot: tuple[str, ...] = ()
    crosses: tuple[tuple[str, ...], ...] = ()
    bits: Annotated[int, Field(ge=1, le=40)] = 18
    missing: Literal["indicator", "zero", "drop", "error"] = "indicator"
    """What a missing value of a numeric column becomes. Of a categorical column it is a level of its own."""
    min_count: Annotated[int, Field(ge=1)] = 1
    """Levels of a one-hot column that occur in fewer rows are not features."""
    derive: dict[str, Derived] = {}

    @property
    def numbers(self) -> tuple[Numeric, ...]:
        """The numeric columns, each with its transform."""
        return tuple(Numeric(column=n) if isinstance(n, str) else n for n in self.numeric)

    @property
    def is_empty(self) -> bool:
        """Whether no column becomes a feature."""
        return not (self.numeric or self.hashed or self.one_hot or self.crosses)


class Survey(Spec):
    """What a first pass over the rows found out."""

    levels: dict[str, tuple[str, ...]] = {}
    """One-hot column → its levels, ascending."""
    classes: tuple[str, ...] | None = None
    """The labels that y = 0, 1, … stand for, where the raw labels are text."""


class FittedFeatures(Spec):
    """All that is needed to turn raw files into rows: kept with every store and every model."""

    data: DataSpec
    features: FeaturesSpec = FeaturesSpec()
    survey: Survey = Survey()
