"""Norm and round-off of the area resize between the detector and the network (docs/theory/units.md, T17)."""

from __future__ import annotations

from functools import lru_cache

from monai_robustinterp.audit.real import MP, Real


@lru_cache(maxsize=64)
def area_norm(size_in: int, size_out: int) -> Real:
    """Largest singular value of one axis: output i is the mean of the inputs floor(i in/out) to ceil((i+1) in/out) - 1.

    nu is at least the norm of R where nu^2 - R R^T has no negative pivot (Sylvester's law of inertia); R R^T is a band
    matrix, since only windows that share pixels have a product. The norm is found by bisection, to 1e-14 of itself.

    Args:
        size_in: pixels before.
        size_out: pixels after.
    """
    windows = [(i * size_in // size_out, -(-(i + 1) * size_in // size_out)) for i in range(size_out)]
    gram = [_products(windows, i) for i in range(size_out)]
    low, high = MP.mpf(0), max(sum(row) + sum(_above(gram, i)) for i, row in enumerate(gram))
    while high - low > high * MP.mpf(10) ** -14:
        middle = (low + high) / 2
        low, high = (low, middle) if _is_positive(gram, middle) else (middle, high)
    return MP.sqrt(high)


def round_off(shape: tuple[int, int], to: list[int], rho: Real) -> Real:
    """Bound of the l2 norm of what float32 does to the display range and the resize.

    Per value (8 rho + 5) u for the range; a window of w pixels is summed in any order, each addition of j of them to
    within 2^ceil(log2 j) u / 2, and three roundings follow; u = 2^-24.

    Args:
        shape: height and width before the resize.
        to: height and width after it.
        rho: largest of |black|, |white| and |intercept| over the width of the range.
    """
    largest = [max(_window(i, a, b) for i in range(b)) for a, b in zip(shape, to)]
    w = largest[0] * largest[1]
    additions = sum(1 << (j - 1).bit_length() for j in range(2, w + 1))
    unit = MP.mpf(2) ** -24
    each = (8 * rho + 5) * unit + (MP.mpf(additions) / (2 * w) + 3) * unit
    return MP.sqrt(to[0] * to[1]) * each * (1 + MP.mpf(2) ** -20)


def _window(i: int, size_in: int, size_out: int) -> int:
    return -(-(i + 1) * size_in // size_out) - i * size_in // size_out


def _products(windows: list[tuple[int, int]], i: int) -> list[Real]:
    """Entries (i, i), (i, i + 1), ... of R R^T up to the last that is not 0."""
    start, end = windows[i]
    row = []
    for other_start, other_end in windows[i:]:
        shared = min(end, other_end) - max(start, other_start)
        if shared <= 0:
            break
        row.append(MP.mpf(shared) / ((end - start) * (other_end - other_start)))
    return row


def _above(gram: list[list[Real]], i: int) -> list[Real]:
    return [gram[j][i - j] for j in range(i) if i - j < len(gram[j])]


def _is_positive(gram: list[list[Real]], shift: Real) -> bool:
    """Whether shift - R R^T is positive definite, by elimination within the band."""
    rest = [[(shift if offset == 0 else 0) - value for offset, value in enumerate(row)] for row in gram]
    for i, row in enumerate(rest):
        if row[0] <= 0:
            return False
        for offset in range(1, len(row)):
            factor, target = row[offset] / row[0], rest[i + offset]
            target.extend([MP.mpf(0)] * (len(row) - offset - len(target)))
            for further in range(offset, len(row)):
                target[further - offset] -= factor * row[further]
    return True
