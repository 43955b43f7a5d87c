"""Reads mutated images and counts what became of them: ``python -m benchmarks.mutated_files FOLDER [COUNT] [SEED]``.

Each file is one of FOLDER with bytes flipped, ranges overwritten, cut out or doubled. Whatever is not an image is to be
refused within the limits; anything else is a fault, and its file is kept in ``mutated_faults/``.
"""

from __future__ import annotations

import resource
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read import decoder
from monai_robustinterp.io.read.limits import MAX_BYTES, MAX_MEMORY
from monai_robustinterp.io.read.reader import ChestXRayReader

SLOW_S = 30.0


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One change or several, mostly in the first kilobytes: headers decide more than pixels."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        end = min(len(data), int(random.choice([1024, 4096, len(data)])))
        start, size = int(random.integers(end)), int(random.integers(1, 9))
        match int(random.integers(4)):
            case 0:
                data[start] ^= 1 << int(random.integers(8))
            case 1:
                data[start : start + size] = random.bytes(size)
            case 2:
                del data[start : start + size]
            case _:
                data[start:start] = data[start : start + 64 * size]
    return bytes(data[: int(random.integers(len(data)))] if random.random() < 0.05 else data)


def read(path: Path) -> str:
    """What became of one file, in a word or two."""
    start = time.monotonic()
    try:
        ChestXRayReader().get_data(path)
        outcome = "read"
    except InputRefused as refused:
        ended = "ended the process" in str(refused)
        slow = "takes longer" in str(refused)
        outcome = "refused, as it ended the decoder" if ended else "refused, as too slow" if slow else "refused"
    except Exception as error:
        outcome = f"FAULT: {type(error).__name__}"
    return outcome if time.monotonic() - start < SLOW_S else "FAULT: slow"


def main(folder: str, count: str = "3000", seed: str = "0") -> None:
    """Prints the counts, and the largest memory of the process that reads."""
    warnings.simplefilter("ignore")
    random = np.random.default_rng(int(seed))
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.stat().st_size < MAX_BYTES // 64)
    contents = [path.read_bytes() for path in files]
    faults, counts = Path("mutated_faults"), Counter[str]()
    faults.mkdir(exist_ok=True)
    for number in range(int(count)):
        path = faults / f"{number}"
        path.write_bytes(mutated(contents[number % len(contents)], random))
        outcome = read(path)
        counts[outcome] += 1
        if not outcome.startswith("FAULT"):
            path.unlink()
    decoder.stop_reading()
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"{len(files)} files, {count} mutations, seed {seed}")
    for outcome, number in counts.most_common():
        print(f"{number:>7}  {outcome}")
    print(f"peak memory of a reading process: {peak / 1e9:.2f} GB of {MAX_MEMORY / 1e9:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
