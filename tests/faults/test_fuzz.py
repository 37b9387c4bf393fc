"""Any bytes at all, to every reader: the right answer, or an error of ours with a place in it (readers.py says which).

The default run is short; `make fuzz` tries some hundred times as many examples, with every index in the compiled loops
checked.
"""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

spec = importlib.util.spec_from_file_location("readers", Path(__file__).with_name("readers.py"))
readers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(readers)

pytestmark = pytest.mark.timeout(0)  # as long as `make fuzz` takes; a hang of one example would be one of the test


def glued(pieces, most=40):
    """Pieces of text that mean something to a parser, one after another."""
    return st.lists(st.sampled_from(pieces), max_size=most).map(b"".join)


SVMLIGHT = [
    b"1", b"-1", b"+1", b"0", b" ", b" ", b"\t", b"\n", b"\n", b"\r", b"\r\n", b"#", b":", b"1:1", b"2:2.5", b"3:-1e-3",
    b"4:0", b"5:1e39", b"6:1e999", b"7:1e-400", b"8:.", b"9:.5", b"10:5.", b"0:1", b"-2:1", b"1e5", b"nan", b"inf",
    b"qid:3", b"qid", b"99999999999999999999:1", b"999999999999999999:1", b"1000000000000000000:1", b"\x00", b"\xff",
    b"11:0x1", b"12:1_0", b"13:123456789012345678901234567890", b"14:0.000000000000000000000000000001", b",",
    b"\xef\xbb\xbf", b"15:1e", b"16:--1", b"17:+1", b"18:1:1",
]  # fmt: skip

CSV = [
    b"1", b"0", b"2.5", b",", b",", b",", b"\n", b"\n", b"\r\n", b"\r", b'"', b'""', b"a", b"NA", b"nan", b"inf", b"-",
    b" ", b"1e5", b"1e999", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc3\xa4", b"1_0", b"0x1", b"\t", b";", b"1,2,x\n",
    b"0,,\n", b'1,2,"x\n', b"NA,1,b\n",
]  # fmt: skip

STRATEGIES = {
    "svmlight": glued(SVMLIGHT) | st.binary(max_size=60),
    "delimited": st.tuples(st.sampled_from([b"", b"\x01"]), glued(CSV) | st.binary(max_size=60)).map(b"".join),
    "store": st.binary(min_size=7, max_size=27),
    "manifest": st.binary(min_size=4, max_size=13),
    "model": st.binary(min_size=4, max_size=16),
    "job": st.binary(min_size=4, max_size=30),
}

COUNTS = {"svmlight": 150, "delimited": 80, "store": 150, "manifest": 60, "model": 120, "job": 150}


@pytest.mark.parametrize("name", readers.READERS)
@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_any_bytes(name, examples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @examples(COUNTS[name])
    @given(STRATEGIES[name])
    def check(data):
        readers.READERS[name](data, tmp_path)

    check()


def test_the_slow_reader_of_svmlight_is_no_copy_of_the_fast_one(tmp_path):
    """It finds what is wrong, and what is right, in text where both are known."""
    readers.svmlight(b"1 1:2 3:4\n# none\n-1 2:1e-3 # c\n", tmp_path)
    readers.svmlight(b"1 1:2\n1 2:1 2:2\n", tmp_path)
    assert readers._svmlight_row(b"1 1:2 3:4.5 # x") == (1.0, {0: 2.0, 2: 4.5})
    with pytest.raises(ValueError, match="2:2"):
        readers._svmlight_row(b"1 2:1 2:2")
