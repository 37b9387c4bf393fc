"""Memory that is used again: by whom, and never while somebody looks at it."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from blockdot import buffers

MANY = 1 << 16  # numbers of an array that memory is kept for


@pytest.fixture(autouse=True)
def nothing_waits():
    buffers.forget()
    yield
    buffers.forget()


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("shape", [0, 3, (2, 0), (3, 4), MANY, (MANY, 3), (5, MANY // 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_arrays_are_as_numpys_are(shape, dtype):
    made = buffers.zeros(shape, dtype)
    expected = np.zeros(shape, dtype)
    assert made.dtype == expected.dtype
    assert made.shape == expected.shape
    assert made.flags.c_contiguous
    assert made.flags.writeable
    assert made.flags.aligned
    assert np.array_equal(made, expected)
    made += 1
    assert np.all(made == 1)


def test_memory_is_used_again_when_nobody_looks_at_it():
    first = buffers.empty(MANY)
    there, view = address(first), first[10:20]
    view[:] = 7.0
    del first
    gc.collect()
    second = buffers.empty(MANY)
    assert address(second) != there, "a view of it is still there"
    second.fill(0.0)
    assert view.tolist() == [7.0] * 10
    del view
    gc.collect()
    assert address(buffers.empty(MANY - 5)) == there, "of about the same size"


def test_zeros_are_zero_in_used_memory():
    buffers.empty(MANY).fill(3.0)
    assert not np.any(buffers.zeros((2, MANY // 2)))


def test_what_waits_is_given_back():
    buffers.empty(MANY).fill(1.0)
    assert sum(map(len, buffers._spare.values())) == 1
    buffers.forget()
    assert buffers._spare == {}


def test_what_does_not_fit_is_said_as_numpy_says_it():
    with pytest.raises(MemoryError, match="no room for an array of"):
        buffers.empty(1 << 57)


def test_threads_never_share_an_array():
    def use(mark):
        for _ in range(200):
            array = buffers.empty(MANY)
            array[:100] = mark
            array[-100:] = mark
            if not (np.all(array[:100] == mark) and np.all(array[-100:] == mark)):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(8)))
    assert sum(map(len, buffers._spare.values())) <= 8
