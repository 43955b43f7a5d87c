"""Counter-based noise: copy i of an image depends only on (seed, image, i), never on batch size, worker or device.

The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in integer torch
operations, so CPU and GPU draw the same bits; the normals follow by Box-Muller in float64 and agree to float round-off.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
# Philox blocks at a time on a CPU: the dozen arrays of 8 bytes a block stay in its cache.
_CACHED_BLOCKS = 2**16


def philox4x32(counter: tuple[torch.Tensor, ...], key: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """Philox4x32 with 10 rounds.

    Args:
        counter: four int64 tensors of one broadcastable shape, values in [0, 2**32).
        key: two integers in [0, 2**32).

    Returns:
        Four int64 tensors of uniform 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # int64 products wrap modulo 2**64 as those of uint64 do; the mask takes off all above a word, once a round.
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = (product1 >> 32).bitwise_xor(c1).bitwise_xor_(k0).bitwise_and_(_MASK)
        c2 = (product0 >> 32).bitwise_xor(c3).bitwise_xor_(k1).bitwise_and_(_MASK)
        c1, c3 = product1, product0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1 & _MASK, c2, c3 & _MASK


def _box_muller(words: tuple[torch.Tensor, ...], *, out: torch.Tensor) -> None:
    """Standard normals of the middles of the cells of four words, float32 [B, blocks, 4]."""
    # MPS has no float64; there the round-off to CPU is that of float32.
    real = torch.float32 if out.device.type == "mps" else torch.float64
    u = [word.to(real).add_(0.5).mul_(2.0**-32) for word in words]
    for i in (0, 2):
        radius, angle = u[i].log_().mul_(-2.0).sqrt_(), u[i + 1].mul_(2.0 * math.pi)
        out[..., i] = angle.cos().mul_(radius)
        out[..., i + 1] = angle.sin_().mul_(radius)


def image_sha256(image: torch.Tensor) -> str:
    """SHA-256 of an image's shape and its float32 little-endian values, as hexadecimal digits."""
    array = np.ascontiguousarray(image.detach().cpu().numpy(), dtype="<f4")
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()


class CounterNoise:
    """The random numbers of one image under one seed.

    The 128-bit key is a hash of the protocol, the purpose, the seed and the image, so two images, two seeds, or noise
    and tie-breaking never share a draw.

    Args:
        seed: any integer.
        image_hash: hexadecimal hash of the clean image (:func:`image_sha256`).
        protocol: name and version of the generator; another version is another key.
    """

    def __init__(self, *, seed: int, image_hash: str, protocol: str) -> None:
        self._identity = f"{protocol}|{seed}|{image_hash}"

    def words(self, purpose: str, samples: torch.Tensor, blocks: int) -> tuple[torch.Tensor, ...]:
        """Uniform 32-bit words of the given copies for a purpose, such as "noise": four int64 tensors [B, blocks]."""
        digest = hashlib.sha256(f"{purpose}|{self._identity}".encode()).digest()
        k0, k1, c2, c3 = (int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8, 12))
        block = torch.arange(blocks, dtype=torch.int64, device=samples.device)[None, :]
        sample = samples.to(torch.int64)[:, None]
        return philox4x32((block, sample, torch.full_like(block, c2), torch.full_like(block, c3)), (k0, k1))

    def normal(self, samples: torch.Tensor, shape: tuple[int, ...], *, purpose: str = "noise") -> torch.Tensor:
        """Standard normals of the given copies.

        Args:
            samples: indices of the copies, int64 [B], in [0, 2**32), on the device where the noise is wanted.
            shape: shape of one copy.
            purpose: numbers for other purposes are independent.

        Returns:
            float32 [B, *shape], independent N(0, 1); |z| <= 6.77, the tail that 32-bit uniforms reach.
        """
        size = math.prod(shape)
        blocks = -(-size // 4)
        flat = torch.empty(len(samples), 4 * blocks, dtype=torch.float32, device=samples.device)
        rows = max(1, _CACHED_BLOCKS // blocks) if samples.device.type == "cpu" else len(samples)
        for part, normals in zip(torch.split(samples, rows), torch.split(flat, rows)):
            _box_muller(self.words(purpose, part, blocks), out=normals.view(-1, blocks, 4))
        return flat[:, :size].reshape(len(samples), *shape)

    def order(self, samples: torch.Tensor, size: int) -> torch.Tensor:
        """Random ranks that break ties, independent of the noise.

        Args:
            samples: indices of the copies, int64 [B].
            size: number of cells c.

        Returns:
            int64 [B, c] of 62 random bits; equal ones (probability about c**2 / 2**63) fall to the lower index.
        """
        words = self.words("ties", samples, -(-size // 2))
        pairs = [(words[0] << 30) ^ words[1], (words[2] << 30) ^ words[3]]
        return torch.stack(pairs, dim=-1).flatten(1)[:, :size]
