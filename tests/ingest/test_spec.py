"""Options that cannot be honoured are refused before a file is opened, in words."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import BaseModel

from blockdot.errors import SpecError
from blockdot.ingest.rule import Rule, as_number
from blockdot.ingest.spec import DataSpec, FeaturesSpec, Split, parse_spec


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (DataSpec, {"format": "xml"}, "t.format: found 'xml'"),
        (DataSpec, {"format": "csv", "lable": "y"}, "t.lable"),
        (DataSpec, {"format": "csv", "zero_based": True}, "zero_based does not apply to the format 'csv'"),
        (DataSpec, {"format": "svmlight", "label": "y"}, "the label of a file of the format 'svmlight' needs"),
        (DataSpec, {"format": "parquet", "delimiter": ";"}, "delimiter does not apply to the format 'parquet'"),
        (DataSpec, {"format": "csv", "label": {"column": "y", "rule": "~ 3"}}, "the rule '~ 3' is none of: > n"),
        (DataSpec, {"format": "csv", "label": {"column": "y", "rule": "> 3", "text": True}}, "not both"),
        (DataSpec, {"format": "csv", "quoting": False, "quoted_newlines": True}, "needs quoting = true"),
        (Split, {}, "either fraction = 0.2 or column"),
        (Split, {"fraction": 0.2, "column": "a", "test": ["1"]}, "either fraction = 0.2 or column"),
        (Split, {"column": "a"}, "column and test go together"),
        (Split, {"fraction": 1.0}, "t.fraction"),
        (FeaturesSpec, {}, "no features"),
        (
            DataSpec,
            {"format": "csv", "label": {"column": "y", "separator": "|", "text": True}},
            "goes without rule and",
        ),
        (
            DataSpec,
            {"format": "csv", "label": {"column": "y", "separator": "|", "rule": "> 1"}},
            "goes without rule and",
        ),
        (DataSpec, {"format": "csv", "label": {"column": "y", "separator": ""}}, "at least 1 character"),
        (DataSpec, {"format": "svmlight", "label": {"separator": "|"}}, 'are separated by ",", not by'),
        (
            DataSpec,
            {"format": "svmlight", "label": "y"},
            'needs label = { rule = "> 0" }, { separator = "," } or nothing',
        ),
        (
            DataSpec,
            {"format": "csv", "label": {"column": "y", "separator": ","}, "quoting": False},
            "fields and labels are both separated by ','",
        ),
        (FeaturesSpec, {"numeric": ["a", "a"]}, "numeric names the column 'a' twice"),
        (FeaturesSpec, {"crosses": [["a"]]}, "needs two or more different columns"),
        (FeaturesSpec, {"crosses": [["a", "a"]]}, "needs two or more different columns"),
        (FeaturesSpec, {"hashed": ["a"], "bits": 0}, "t.bits"),
        (
            FeaturesSpec,
            {"numeric": ["w"], "derive": {"w": {"column": "t", "part": "hour"}}},
            "the derived column 'w' is a category",
        ),
        (FeaturesSpec, {"hashed": ["w"], "derive": {"w": {"part": "hour"}}}, "give either columns"),
        (
            FeaturesSpec,
            {"hashed": ["w"], "derive": {"w": {"columns": ["y", "m", "d"], "part": "hour"}}},
            "neither an hour nor a layout",
        ),
    ],
)
def test_refusals(kind: type[BaseModel], value: dict, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(kind, value, "t")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "true", "false"),
    [
        ("> 15", [15.5, 1e9], [15, -1]),
        (">= -1.5e0", [-1.5, 0], [-2]),
        ("< 3", [2.9], [3]),
        ("<=3", [3], [3.1]),
    ],
)
def test_rules_on_numbers(rule: str, true: list[float], false: list[float]) -> None:
    parsed = Rule.parse(rule)
    assert parsed.compares_numbers
    assert parsed.holds(np.array(true, float)).all()
    assert not parsed.holds(np.array(false, float)).any()


@pytest.mark.parametrize(
    ("rule", "true", "false"),
    [
        ("== Yes", ["Yes"], ["yes", "No"]),
        ('== "a b"', ["a b"], ["a"]),
        ("== 1", ["1", "1.0", " 1 "], ["11", "x"]),
        ("in [1, 2, low]", ["1.0", "2", "low"], ["3", "lo"]),
        ("in ['> 50K', x]", ["> 50K", "x"], ["'> 50K'"]),
    ],
)
def test_rules_on_text(rule: str, true: list[str], false: list[str]) -> None:
    parsed = Rule.parse(rule)
    assert not parsed.compares_numbers
    assert all(parsed.holds_for(text) for text in true)
    assert not any(parsed.holds_for(text) for text in false)


@pytest.mark.parametrize("rule", ["", ">", "> x", "15", "in []", "in 1, 2", "index 3", "!= 3"])
def test_text_that_is_no_rule(rule: str) -> None:
    with pytest.raises(ValueError, match="is none of"):
        Rule.parse(rule)


def test_numbers() -> None:
    assert [as_number(t) for t in (" 1.5", "+2", ".5", "1.", "1e-3")] == [1.5, 2.0, 0.5, 1.0, 1e-3]
    assert [as_number(t) for t in ("", "nan", "inf", "1_0", "0x1", "1 2")] == [None] * 6


def test_a_spec_survives_json() -> None:
    spec = parse_spec(DataSpec, {"format": "csv", "label": "y", "offset": {"column": "e", "transform": "log"}}, "t")
    assert DataSpec.model_validate_json(spec.model_dump_json()) == spec
