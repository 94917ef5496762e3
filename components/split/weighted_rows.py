"""The one loop of split that is compiled, by numba: rows of pixels weighted and summed."""

import numba  # type: ignore[import-not-found,import-untyped,unused-ignore]
import numpy as np
import numpy.typing as npt


@numba.njit(nogil=True, error_model="numpy")
def weigh_rows(
    rows: npt.NDArray[np.uint8],
    first: npt.NDArray[np.int64],
    weights: npt.NDArray[np.uint16],
    result: npt.NDArray[np.uint8],
) -> None:
    """Write weighted means of rows.

    Args:
        rows: uint8 ``[n, width]``.
        first: ``[count]``, the first row that becomes each row of the result.
        weights: uint16 ``[count, most]``, of that row and those that follow; they add up to 256, so that with a half
            for rounding the sums of 8-bit values fit into 16 bits.
        result: uint8 ``[count, width]``, written.
    """
    width = rows.shape[1]
    sums = np.empty(width, np.uint16)
    for row in range(len(result)):
        sums[:] = 128
        for place in range(weights.shape[1]):
            weight = weights[row, place]
            if weight:
                values = rows[first[row] + place]
                for column in range(width):
                    # Everything in 16 bits: numba would take 64.
                    sums[column] = np.uint16(sums[column] + np.uint16(values[column]) * weight)
        target = result[row]
        for column in range(width):
            target[column] = np.uint8(sums[column] >> np.uint16(8))
