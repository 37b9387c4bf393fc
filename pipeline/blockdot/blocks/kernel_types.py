"""The arrays that compiled products take: see products.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pointers = NDArray[np.int32]
"""Where rows start and end."""
Index = NDArray[np.uint32]
Floats = NDArray[np.float64]
Stored = NDArray[np.float32] | NDArray[np.float64]
Values = Stored | None
"""None where all are 1."""
