"""The published closed form (US 11,341,598, eqs. 1-2; Liu et al. 2021, arXiv:2107.01561), as it is used: plug-in.

Source: eps = -ln(2s M_{1-alpha}(p_S) + sum of p outside S), L = sup over alpha of sigma sqrt(2 eps / alpha), with the
observed shares for the expected ones (T1 of docs/theory/map.md). The sum stands inside the logarithm; as printed
in the patent, outside, even a uniform map gets a radius.

Level: plug-in, so no claim for two reasons. The observed shares of m copies are no bounds on the expected map. And for
s >= 2 the formula is no lower bound even at the expected map: see ``WHY_NO_BOUND``.
"""

from __future__ import annotations

import numpy.typing as npt

from monai_robustinterp.certificates.overlap import BetaLike
from monai_robustinterp.certificates.renyi import renyi_radius

LEVEL = "plug-in"

WHY_NO_BOUND = (
    "For s >= 2 swapped cells the closed form is no lower bound: it is the divergence of one particular swap, which "
    "ties all 2s cells to one value, while the cheapest swap leaves alone the cells that already lie on the right "
    "side. The radius comes out too large."
)


def patent_radius(share: npt.ArrayLike, *, top_k: int, beta: BetaLike, sigma: float) -> float:
    """Radius of the closed form at the observed shares.

    The number of swapped cells is the s of this package, k - ceil(beta k) + 1. The patent's (1 - beta) k is one less
    where it is whole, and undefined where it is not.

    Args:
        share: counts / m in [0, 1], any shape, sum ``top_k``.
        top_k: k.
        beta: share of the top-k that is to stay, a decimal string or a number in (0, 1].
        sigma: standard deviation of the smoothing noise.

    Returns:
        The radius in the units of sigma, which guarantees nothing; infinity where a share of 0 or 1 is taken at its
        word.

    Raises:
        ValueError: for an invalid vote map, k or beta.
    """
    return renyi_radius(share, top_k=top_k, beta=beta, sigma=sigma, form="closed")
