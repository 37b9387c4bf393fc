"""The density of the compound Poisson–gamma distributions, 1 < p < 2, by its series.

    log f(y) = [y μ¹⁻ᵖ/(1 − p) − μ²⁻ᵖ/(2 − p)]/φ − log y + log Σ_{j ≥ 1} W_j,        y > 0
    log f(0) = −μ²⁻ᵖ/((2 − p) φ)

    log W_j = j [−a log y + a log(p − 1) − (1 − a) log φ − log(2 − p)] − log Γ(j + 1) − log Γ(−a j)

with a = (2 − p)/(1 − p) (Dunn & Smyth, *Statistics and Computing* 15 (2005), section 4). It is concave in j, its peak
near y²⁻ᵖ/((2 − p) φ), about as wide as the root of that: terms are added up as far as they count on both sides of it.
Where the peak is far out the sum is the saddle point's (section 5.4.3 of Jørgensen, *The Theory of Dispersion Models*
(1997)), with a relative error of about one part in it:

    log f(y) = −½ log(2π φ yᵖ) − [y²⁻ᵖ/((1 − p)(2 − p)) − y μ¹⁻ᵖ/(1 − p) + μ²⁻ᵖ/(2 − p)]/φ
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

Floats = NDArray[np.float64]

_DEVIATIONS = 10.0  # of the peak's width, on each side: what is left out is below e⁻³⁷ of the largest term
_LEAST_TERMS = 50
_FAR = 1e7  # peaks beyond it: the saddle point is as good as the sum
_AT_ONCE = 1 << 20  # terms


def log_density(y: Floats, mu: Floats, phi: Floats, p: float) -> Floats:
    """(n,) log f(y; μ, φ) of rows with y ≥ 0."""
    out = -(mu ** (2.0 - p)) / ((2.0 - p) * phi)
    positive = y > 0.0
    out[positive] += y[positive] * mu[positive] ** (1.0 - p) / ((1.0 - p) * phi[positive])
    peak = np.maximum(y ** (2.0 - p) / ((2.0 - p) * phi), 1.0)
    far = np.flatnonzero(peak > _FAR)
    out[far] -= y[far] ** (2.0 - p) / ((1.0 - p) * (2.0 - p) * phi[far])
    out[far] -= 0.5 * np.log(2.0 * np.pi * phi[far] * y[far] ** p)
    near = np.flatnonzero(positive & (peak <= _FAR))
    out[near] += _series(y[near], phi[near], p, peak[near]) - np.log(y[near])
    return out


def _series(y: Floats, phi: Floats, p: float, peak: Floats) -> Floats:
    """Log Σ W_j of rows with y > 0."""
    out = np.empty(len(y))
    half = np.ceil(_DEVIATIONS * np.sqrt(peak)) + _LEAST_TERMS
    order = np.argsort(half)  # rows that need as many terms go together
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * (2 * half[order[stop]] + 1) <= _AT_ONCE:
            stop += 1
        rows = order[start:stop]
        out[rows] = _log_sum(y[rows], phi[rows], p, peak[rows], int(half[rows[-1]]))
        start = stop
    return out


def _log_sum(y: Floats, phi: Floats, p: float, peak: Floats, half: int) -> Floats:
    """Log Σ W_j over the ``half`` terms on each side of the peak."""
    a = (2.0 - p) / (1.0 - p)
    j = np.rint(peak)[:, np.newaxis] + np.arange(-half, half + 1.0)
    slope = -a * np.log(y) + a * np.log(p - 1.0) - (1.0 - a) * np.log(phi) - np.log(2.0 - p)
    safe = np.maximum(j, 1.0)
    terms = np.where(j >= 1.0, safe * slope[:, np.newaxis] - gammaln(safe + 1.0) - gammaln(-a * safe), -np.inf)
    return np.asarray(logsumexp(terms, axis=1))
