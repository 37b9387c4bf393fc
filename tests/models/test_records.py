"""Values as JSON and arrays: every solver's state comes back bit for bit, and nothing else comes back."""

import json
import math
import typing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

import blockdot as bd
from blockdot.errors import SpecError, StoreError
from blockdot.models.records import Record, decode, describe, encode
from blockdot.solvers import minimize

SMOOTH = [bd.GradientDescent(0.5), bd.Backtracking(), bd.LBFGS(), bd.NewtonCG(patience=1), bd.NewtonCholesky()]
PROXIMAL = [bd.ProximalNewton(), bd.OWLQN(), bd.ProximalGradient()]


def travelled(value, kind):
    """The value after its way through JSON text and safetensors."""
    record = encode(value)
    stored = safetensors.numpy.save({str(i): np.ascontiguousarray(array) for i, array in enumerate(record.arrays)})
    arrays = safetensors.numpy.load(stored)
    tree = json.loads(json.dumps(record.tree, allow_nan=False))
    return decode(kind, Record(tree, tuple(arrays[str(i)] for i in range(len(arrays)))))


def same(a, b):
    if isinstance(a, np.ndarray):
        alike = isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
        alike = alike and (not a.size or a.strides == b.strides)
        return alike and a.tobytes() == b.tobytes()
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return repr(a) == repr(b) if isinstance(a, float) else type(a) is type(b) and a == b


@pytest.mark.parametrize("solver", [*SMOOTH, *PROXIMAL], ids=lambda solver: solver.name)
def test_every_state_of_every_solver_comes_back_and_goes_on_to_the_same_bits(solver):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 12)) * 10.0 ** rng.uniform(-1, 1, 12)
    data = bd.Dataset.from_arrays(X, (X @ rng.normal(size=12) > 0).astype(float), block_rows=30)
    penalty = bd.ElasticNet(1e-2, 0.5) if solver in PROXIMAL else bd.L2(1e-3)
    kind = typing.get_type_hints(type(solver).init)["return"]
    states = []
    with data.on(bd.ThreadPool(1)) as blocks:
        objective = bd.Objective(bd.Logistic(), bd.Linear(), penalty, blocks)
        options = {"tol": 1e-10, "max_iter": 25}
        whole = minimize(objective, solver, objective.zeros(), callbacks=[states.append], **options)
        assert len(states) > 3
        for state in [*states, whole.state]:
            assert same(travelled(state, kind), state)
        back = travelled(states[1], kind)
        resumed = minimize(objective, solver, objective.zeros(), resume_from=back, **options)
    assert same(resumed.state, whole.state)


class Colour(StrEnum):
    RED = "red"


class Inner(NamedTuple):
    v: NDArray[np.float64]
    n: int


class Outer(NamedTuple):
    number: float
    truth: bool
    text: str
    colour: Colour | None
    pairs: tuple[Inner, ...]
    two: tuple[int, float]
    any_array: np.ndarray
    nothing: None = None


OUTER = Outer(
    -0.0, True, "ü", Colour.RED, (Inner(np.array([0.1, -0.0, np.nan]), 2**100), Inner(np.empty(0), -1)), (1, math.inf),
    np.arange(6, dtype=np.uint32).reshape(2, 3),
)  # fmt: skip


def test_a_nested_value_comes_back():
    assert same(travelled(OUTER, Outer), OUTER)
    for array in (np.arange(6.0).reshape(2, 3, order="F"), np.zeros((0, 3)), np.arange(24).reshape(2, 3, 4).T):
        assert same(travelled(OUTER._replace(any_array=array), Outer).any_array, array)
    for number in (math.nan, -math.inf, 5e-324, 0.1 + 0.2, 2.0**60):
        back = travelled(OUTER._replace(number=number, colour=None, pairs=()), Outer)
        assert np.float64(back.number).tobytes() == np.float64(number).tobytes()
        assert back.colour is None
    scalars = OUTER._replace(number=np.float64(0.1), truth=np.bool_(True), two=(np.int64(3), np.float32(0.5)))
    assert travelled(scalars, Outer)[:2] == (0.1, True)
    assert travelled(scalars, Outer).two == (3, 0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": "1.0"}, r"Outer.number: needed float, found 1.0"),
        ({"number": True}, "needed float, found True"),
        ({"truth": 1}, "needed bool, found 1"),
        ({"text": None}, "needed str, found None"),
        ({"colour": "green"}, "needed one of red, found green"),
        ({"pairs": {"array": 0}}, r"Outer.pairs: needed a list"),
        ({"pairs": [{"v": {"array": 0}}]}, r"Outer.pairs\[0\]: needed the fields v, n"),
        ({"pairs": [{"v": {"array": 9}, "n": 1}]}, "needed an array, found"),
        ({"pairs": [{"v": {"file": 0}, "n": 1}]}, "needed an array, found"),
        ({"pairs": [{"v": {"array": True}, "n": 1}]}, "needed an array, found"),
        ({"pairs": [{"v": {"array": 2}, "n": 1}]}, "needed an array of float64, found one of uint32"),
        ({"two": [1]}, "needed 2 values, found 1"),
        ({"nothing": 0}, "needed NoneType, found 0"),
        ({"__reduce__": ["os.system", "true"]}, "needed the fields number"),
    ],
)
def test_a_tree_of_another_form_is_refused_with_its_place(change, words):
    record = encode(OUTER)
    with pytest.raises(StoreError, match=words):
        decode(Outer, Record({**record.tree, **change}, record.arrays))


def test_types_without_a_record_are_refused():
    class Strange(NamedTuple):
        value: complex

    with pytest.raises(SpecError, match="a complex cannot be kept in a checkpoint"):
        encode(Strange(1j))
    with pytest.raises(SpecError, match=r"Strange.value is of the type <class 'complex'>"):
        decode(Strange, Record({"value": 1.0}, ()))
    with pytest.raises(SpecError, match="a dict cannot be kept"):
        encode({})


@dataclass(frozen=True)
class Setting:
    alpha: float
    weights: object = None
    extra: dict = field(default_factory=dict)


def test_equal_values_are_described_alike_and_others_are_not():
    long = np.arange(100.0)
    base = Setting(1e-6, long)
    alike = [Setting(1e-6, long.copy()), Setting(1e-6, long.tolist()), Setting(np.float64(1e-6), long)]
    assert all(describe(other) == describe(base) for other in alike)
    other = long.copy()
    other[7] = np.nextafter(7.0, 8.0)
    others = [
        Setting(1e-5, long), Setting(1e-6, other), Setting(1e-6, long.astype(np.float32)), Setting(1e-6, long[:99]),
        Setting(1e-6, long.reshape(10, 10)), Setting(1e-6, long, {"a": 1}), Setting(1e-6, np.exp), Setting(math.nan),
    ]  # fmt: skip
    described = [json.dumps(describe(value), allow_nan=False) for value in [base, *others]]
    assert len(set(described)) == len(described)


def test_what_nothing_tells_apart_is_not_described():
    with pytest.raises(SpecError, match="or fit without a checkpoint"):
        describe(Setting(1.0, lambda w: w))
    with pytest.raises(SpecError, match="has no name that a checkpoint could be told by"):
        describe(Setting(1.0, object()))
