"""Numbers in words."""

from collections.abc import Mapping
from types import MappingProxyType

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

WORDS: Mapping[str, int] = MappingProxyType(
    {word: value for value, word in enumerate(_ONES)}
    | {word: 10 * value for value, word in enumerate(_TENS, start=2)}
    | {
        f"{tens}{joint}{ones}": 10 * value + one
        for value, tens in enumerate(_TENS, start=2)
        for one, ones in enumerate(_ONES[1:10], start=1)
        for joint in "- "
    }
)
"""Zero to ninety-nine, in lower case; "twenty-one" and "twenty one"."""
