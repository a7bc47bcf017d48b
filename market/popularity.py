"""Who is shown how often: ranks drawn by a Zipf law in closed form, without tables."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["zipf_ranks", "zipf_shares"]


def zipf_ranks(
    uniforms: npt.NDArray[np.float64], size: int, exponent: float
) -> npt.NDArray[np.int64]:
    """Turn uniform numbers into ranks 0..size-1, rank k having about 1/(k+1)**exponent as share.

    The law is a Pareto density on [1, size + 1) cut at the integers: its inverse is a formula,
    so drawing costs the same for ten values and for ten million. Shares are those of
    :func:`zipf_shares`, exactly.

    Parameters
    ----------
    uniforms
        Numbers in [0, 1), any shape.
    size
        How many ranks there are; at least 1.
    exponent
        0 makes all ranks equally popular; higher gives more to the first ones.

    Returns
    -------
    int64 array of the shape of ``uniforms``.

    Examples
    --------
    >>> import numpy as np
    >>> zipf_ranks(np.array([0.0, 0.5, 0.999]), size=100, exponent=1.0)
    array([ 0,  9, 99])
    """
    if exponent == 1.0:
        reach = np.exp(uniforms * np.log(size + 1.0))
    else:
        power = 1.0 - exponent
        reach = (1.0 + uniforms * ((size + 1.0) ** power - 1.0)) ** (1.0 / power)
    # Rounding may push a uniform just below 1 onto the open end.
    ranks: npt.NDArray[np.int64] = np.minimum(reach.astype(np.int64) - 1, size - 1)
    return ranks


def zipf_shares(size: int, exponent: float) -> npt.NDArray[np.float64]:
    """Share of each rank under :func:`zipf_ranks`; float64 of shape (size,), sums to 1.

    Examples
    --------
    >>> zipf_shares(3, 1.0).round(3)
    array([0.5  , 0.292, 0.208])
    """
    ends = np.arange(1.0, size + 2.0)
    mass = np.log(ends) if exponent == 1.0 else ends ** (1.0 - exponent) / (1.0 - exponent)
    shares: npt.NDArray[np.float64] = np.diff(mass) / (mass[-1] - mass[0])
    return shares
