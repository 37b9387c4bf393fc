"""What the bits of a sum depend on beside the data: libraries and vector instructions, in words and by trying.

    fingerprint = { versions of what computes, the C library, BLAS, vector instructions, a checksum }

``exp``, ``log1p`` and ``power`` are other functions on CPUs with AVX-512 than on those without, a dense inner product
is added up in other orders, and a Cholesky factor depends on the kernels that BLAS has chosen. The checksum is of some
such numbers, computed here: where it differs, so will models.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np

import blockdot
from blockdot.blocks.manifest import checksum
from blockdot.blocks.products import dense_add_dot
from blockdot.blocks.tree import Pool
from blockdot.errors import ExecutionError
from blockdot.vectors import Cholesky, inner

logger = logging.getLogger(__name__)

Fingerprint = dict[str, str]

# Found by NumPy and used for integers, sorting and half precision alone: with and without them sums have the same bits.
_HARMLESS = {"AVX512_CLX", "AVX512_CNL", "AVX512_ICL", "AVX512_SPR"}


@cache
def fingerprint() -> Fingerprint:
    """What the bits depend on in this process."""
    import scipy

    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    blas = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "blockdot": blockdot.__version__,
        **{name: _version(name) for name in ("numpy", "scipy", "numba", "llvmlite")},
        "C library": " ".join(platform.libc_ver()) or platform.system(),
        "BLAS": f"{blas['name']} {blas['version']}",
        "vector instructions": " ".join(
            [platform.machine(), *(name for name in simd["found"] if name not in _HARMLESS)]
        ),
        "computed numbers": checksum(_numbers()),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _numbers() -> bytes:
    """Some numbers of each sort that fits are made of."""
    from scipy.special import log_ndtr, ndtr

    x = np.linspace(-30.0, 30.0, 2001)
    size = np.abs(x) + 1e-3
    wave = np.sin(np.arange(2001.0))
    made = [
        *(function(x) for function in (np.exp, np.expm1, np.tanh, ndtr, log_ndtr)),
        *(function(size) for function in (np.log, np.log1p, np.sqrt, np.cbrt)),
        np.power(size, 1.3),
        np.logaddexp(0.0, x),
        np.array([inner(x, wave), np.sum(x * wave)]),
    ]
    dots = np.zeros(29)
    dense_add_dot(wave[: 29 * 69].reshape(29, 69).astype(np.float32), x[:69].copy(), dots)
    rows = wave[:2000].reshape(200, 10)
    factor = Cholesky.of(np.einsum("ij,kj->ik", rows, rows) + np.eye(200))
    assert factor is not None
    return b"".join(np.ascontiguousarray(part).tobytes() for part in (*made, dots, factor.lower))


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """In words, what differs between two fingerprints."""
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    return [f"{name}: {here.get(name, 'unknown')} here, {there.get(name, 'unknown')} there" for name in names]


def require_agreement(pool: Pool, *, strict: bool) -> None:
    """Warn of worker processes that compute other bits than this process; ExecutionError if ``strict``.

    Workers that come later are asked, too, before they are given work: they are warned of, or if ``strict`` left out.
    """
    pool.require(fingerprint, partial(_judge, strict=strict))


def _judge(name: str, theirs: Fingerprint, *, strict: bool) -> None:
    found = "; ".join(differences(fingerprint(), theirs))
    if not found:
        return
    text = f"the worker {name} computes other bits than this process ({found})"
    if strict:
        raise ExecutionError(
            f'{text}; reproducible = "strict" needs workers that agree: install the same versions everywhere, and use '
            "machines of one kind"
        )
    logger.warning("%s: the model's last digits will depend on who did what", text)
