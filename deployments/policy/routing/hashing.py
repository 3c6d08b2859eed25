"""Numbers that look like chance and are not, so that all gateways get the same ones."""

import zlib

import numpy as np
from numpy.typing import NDArray

_64_BITS = (1 << 64) - 1
_ADDED, _ONE, _OTHER = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
#: The same for arrays, and by how many bits they are moved.
_ADDED_TO_ALL, _ONE_OF_ALL, _OTHER_OF_ALL, _30, _27, _31 = map(np.uint64, (_ADDED, _ONE, _OTHER, 30, 27, 31))


def mixed(number: int) -> int:
    """Returns a 64-bit number that looks like chance: the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    number = (number + _ADDED) & _64_BITS
    number = (number ^ number >> 30) * _ONE & _64_BITS
    number = (number ^ number >> 27) * _OTHER & _64_BITS
    return number ^ number >> 31


def of_text(text: str) -> int:
    """Returns 32 bits of a text, the same in every process."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def weights(seeds: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Returns a number made of each seed and a key. The seed with the highest is the key's home (rendezvous hashing, Thaler and Ravishankar
    1996): where a seed is added or taken away, only the keys move whose home it is.

    Args:
        seeds: numbers of 64 bits.
        key: any number.

    Returns:
        `mixed(seed ^ key)` of each seed.
    """
    numbers: NDArray[np.uint64] = seeds ^ np.uint64(key & _64_BITS)
    numbers += _ADDED_TO_ALL
    numbers ^= numbers >> _30
    numbers *= _ONE_OF_ALL
    numbers ^= numbers >> _27
    numbers *= _OTHER_OF_ALL
    numbers ^= numbers >> _31
    return numbers
