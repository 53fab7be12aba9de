"""Types of NumPy arrays, named by what they hold."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # tiles [n, C, H, W], or a picture [H, W, 3]
Vectors = NDArray[np.float32]  # embeddings [n, D]
Vector = NDArray[np.float32]  # one embedding [D]
Floats = NDArray[np.float64]  # coordinates and other numbers, of any shape
Flags = NDArray[np.bool_]  # of any shape
Places = NDArray[np.int64]  # numbers of places, or of their slots, in a dataset [n]
