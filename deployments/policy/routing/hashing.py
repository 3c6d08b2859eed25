"""Numbers that look like chance and are not, so that all gateways get the same ones."""

import zlib

import numpy as np
from numpy.typing import NDArray

_64_BITS = (1 << 64) - 1
#: Any odd number whose bits look like chance.
_ODD = np.uint64(0xD6E8FEB86659FD93)


def mixed(number: int) -> int:
    """Returns a 64-bit number that looks like chance: the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    number = (number + 0x9E3779B97F4A7C15) & _64_BITS
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _64_BITS
    return number ^ number >> 31


def of_text(text: str) -> int:
    """Returns 32 bits of a text, the same in every process."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def weights(seeds: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Returns a number made of each seed and a key. The seed with the highest is the key's home (rendezvous hashing, Thaler and Ravishankar
    1996): where a seed is added or taken away, only the keys move whose home it is.

    Seeds and key are mixed already, each by itself, so two operations on all seeds do: bits that differ, and a product that carries each
    of them up to the highest.

    Args:
        seeds: numbers of `mixed`.
        key: any number.
    """
    product: NDArray[np.uint64] = (seeds ^ np.uint64(mixed(key))) * _ODD
    return product
