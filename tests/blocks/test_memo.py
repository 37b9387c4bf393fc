"""What a process remembers: never another answer, never more than there is room for."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import blockdot as bd
from blockdot.blocks import memo
from blockdot.blocks.layout import Layout
from blockdot.blocks.memo import Memo, Shelf

ROOM = 100  # numbers


def arrays(n):
    return np.arange(n, dtype=np.float64)


puts = st.tuples(st.integers(0, 1), st.sampled_from("ab"), st.sampled_from([b"1", b"2"]), st.integers(0, 60))


@given(st.lists(puts, max_size=30))
def test_a_memo_is_a_table_of_limited_room(calls):
    """The last array that fitted is found under its own key alone, and what is replaced gives back its room."""
    shelf, kept = Shelf(8 * ROOM), {}
    for block, name, key, size in calls:
        array = arrays(size)
        shelf.memo(block).put(name, key, array)
        others = sum(len(a) for at, (_, a) in kept.items() if at != (block, name))
        if others + size <= ROOM:
            kept[block, name] = key, array
        for b in (0, 1):
            for n in "ab":
                key_there, array_there = kept.get((b, n), (None, None))
                for k in (b"1", b"2"):
                    assert shelf.memo(b).get(n, k) is (array_there if k == key_there else None)
    free = 8 * (ROOM - sum(len(a) for _, a in kept.values()))
    assert not shelf.admits(free + 1)
    assert shelf.admits(free)
    assert not shelf.admits(1)


@pytest.mark.parametrize(("room", "older"), [(20, True), (19, False), (10, False)])
def test_what_is_replaced_is_kept_under_an_older_name_where_there_is_room_for_both(room, older):
    shelf = Shelf(8 * room)
    kept = shelf.memo(0)
    for key in (b"1", b"2", b"3"):
        kept.put("z", key, arrays(10), older="older z")
    assert kept.get("z", b"3") is not None
    assert (kept.get("older z", b"2") is not None) == older
    assert shelf.admits(8 * (room - 10 - 10 * older))
    assert not shelf.admits(1)


@pytest.mark.parametrize(("room", "computed"), [(80, 1), (79, 3), (0, 3)])
def test_what_has_no_room_is_computed_each_time(room, computed):
    calls = []

    def compute():
        calls.append(None)
        return arrays(10)

    remembered = Memo(Shelf(room))
    for _ in range(3):
        assert np.array_equal(remembered.remember("z", b"w", compute), arrays(10))
    assert len(calls) == computed


def test_fits_do_not_share_a_shelf_and_the_oldest_is_forgotten(monkeypatch):
    monkeypatch.setattr(memo, "_shelves", type(memo._shelves)())
    first, second = memo.memo("first", 3), memo.memo("second", 3)
    assert first is not second
    assert memo.memo("first", 3) is first  # and is now the one used last
    memo.memo("third", 3)
    assert list(memo._shelves) == ["first", "third"]
    memo.forget("first")
    memo.forget("a fit that never was")
    memo.forget("a fit that never was/a view")
    assert memo.memo("first", 3) is not first


def test_views_share_the_room_of_their_fit_and_give_it_back(monkeypatch):
    monkeypatch.setattr(memo, "_shelves", type(memo._shelves)())
    monkeypatch.setattr(memo, "_room", 200)
    blocks, view, other = (memo.memo(name, 0) for name in ("fit", "fit/view", "fit/other"))
    assert list(memo._shelves) == ["fit"]
    assert len({blocks, view, other}) == 3
    blocks.put("z", b"w", arrays(10))
    view.put("z", b"w", arrays(10))
    other.put("z", b"w", arrays(10))
    assert other.get("z", b"w") is None  # 200 bytes hold two of them
    memo.forget("fit/view")
    other.put("z", b"w", arrays(10))
    assert other.get("z", b"w") is not None
    assert memo.memo("fit", 0) is blocks
    memo.forget("fit")
    assert not memo._shelves


def test_a_worker_forgets_the_views_that_were_not_looked_at_for_longest(monkeypatch):
    monkeypatch.setattr(memo, "_shelves", type(memo._shelves)())
    monkeypatch.setattr(memo, "_room", 80 * memo._VIEWS)
    for i in range(20):
        memo.memo("fit/kept", 0).put("z", b"w", arrays(10))
        view = memo.memo(f"fit/view {i}", 0)
        view.put("z", b"w", arrays(10))
        assert view.get("z", b"w") is not None
    assert memo.memo("fit/kept", 0).get("z", b"w") is not None


class Counted:
    """A source, and a pass over it, that count what they do."""

    layout = Layout()

    def __init__(self, source):
        self.source, self.n_blocks, self.n_features = source, source.n_blocks, source.n_features
        self.expect, self.release, self.name = source.expect, source.release, source.name
        self.made = self.computed = 0

    def block(self, index):
        self.made += 1
        return self.source.block(index)

    def _rows(self, n):
        self.computed += 1
        return arrays(n)

    def __call__(self, block):
        return block.memo.remember("rows", b"", partial(self._rows, block.n_rows)).sum()


def data(block_rows):
    rng = np.random.default_rng(5)
    X = sp.random_array((100, 8), density=0.4, rng=rng, format="csr")
    return bd.Dataset.from_arrays(X, (rng.random(100) < 0.5).astype(float), block_rows=block_rows)


def test_blocks_are_made_and_remembered_until_the_fit_ends():
    counted = Counted(data(25).source)
    with bd.Blocks(counted, bd.ThreadPool(1)) as blocks:
        for _ in range(3):
            assert blocks.sum(counted) == 4 * arrays(25).sum()
            assert (counted.made, counted.computed) == (4, 4)
    assert blocks.sum(counted) == 4 * arrays(25).sum()
    assert (counted.made, counted.computed) == (8, 8)
    with bd.Blocks(counted, bd.ThreadPool(1)) as others:
        others.sum(counted)
    assert (counted.made, counted.computed) == (12, 12)


@pytest.mark.parametrize("loss", [bd.Squared(), bd.Logistic()])
def test_room_never_changes_a_bit(loss, monkeypatch):
    source = data(30).source

    def answers(room):
        monkeypatch.setattr(memo, "_room", room)
        rng = np.random.default_rng(6)
        with bd.Blocks(source, bd.ThreadPool(2)) as blocks:
            objective = bd.Objective(loss, bd.Linear(), bd.L2(0.1), blocks)
            for w in rng.normal(size=(3, objective.size)):
                v = rng.normal(size=objective.size)
                yield objective.hess_vec(w, v)
                yield objective.value_and_grad(w)[1]
                yield from (objective.hess_vec(w, d) for d in (v, w, -v))
                yield from (objective.value_along(w, v, t) for t in (1.0, 0.5))
                yield from (objective.hess_diag(w), objective.hessians(w)[0][1], objective.value(w))

    plenty, none, some = (list(answers(room)) for room in (1 << 20, 0, 1000))
    for a, b, c in zip(plenty, none, some, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)
