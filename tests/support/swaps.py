"""The cheapest swap of cells by constrained minimization, which knows nothing of the closed forms."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]


def divergence_of_swap(p: Array, inside: tuple[int, ...], outside: tuple[int, ...], alpha: float) -> float:
    """Min D_alpha(q || p) over distributions q with max q[inside] <= min q[outside], by SLSQP on q / p."""
    alive = p > 0
    if not alive[list(outside)].all():
        mass = p[list(inside)].sum()
        return np.inf if mass >= 1 else -np.log1p(-mass)
    weights = p[alive]
    position = np.cumsum(alive) - 1
    pairs = [(position[a], position[b]) for a in inside for b in outside]
    rows = np.zeros((len(pairs), weights.size))
    for row, (a, b) in zip(rows, pairs):
        row[a], row[b] = -weights[a], weights[b]
    constraints = [
        {"type": "eq", "fun": lambda r: weights @ r - 1, "jac": lambda r: weights},
        {"type": "ineq", "fun": lambda r: rows @ r, "jac": lambda r: rows},
    ]
    found = minimize(
        lambda r: weights @ r**alpha,
        np.ones(weights.size),
        jac=lambda r: alpha * weights * r ** (alpha - 1),
        bounds=[(0, None)] * weights.size,
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return float(np.log(found.fun) / (alpha - 1))


def brute_force(q: Array, top_k: int, s: int, alpha: float) -> float:
    """The cheapest swap over all choices of s cells inside and s outside."""
    p, order = q / top_k, np.argsort(-q)
    return min(
        divergence_of_swap(p, a, b, alpha)
        for a in combinations(order[:top_k], s)
        for b in combinations(order[top_k:], s)
    )


def vote_shares(kind: str, n_cells: int, top_k: int, seed: int) -> Array:
    """Shares of votes that sum to top_k: random, with near ties, or with two cells that nobody voted for."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        logits = rng.normal(size=n_cells)
    elif kind == "near ties":
        logits = np.repeat(rng.normal(size=2), n_cells)[:n_cells] + 1e-6 * rng.normal(size=n_cells)
    else:
        logits = np.where(np.arange(n_cells) < n_cells - 2, rng.normal(size=n_cells), -np.inf)
    # Scale to sum k with every share in [0, 1].
    low, high = -60.0, 60.0
    for _ in range(200):
        shift = (low + high) / 2
        low, high = (shift, high) if (1 / (1 + np.exp(-(logits + shift)))).sum() < top_k else (low, shift)
    q = 1 / (1 + np.exp(-(logits + shift)))
    return q * (top_k / q.sum())
