"""One completion while its tokens come in: its own random numbers, where it ends, and its text."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from dreamprm.generators.base import Completion

_CONTEXT = 4  # tokens before the completion that its first token is decoded with


class OpenCompletion:
    """Takes tokens one by one until an end token, a stop text or the limit.

    Its random numbers come from (seed, sample) alone: what it is batched with does not change them.

    Args:
        decode: from token ids to text, special tokens left out.
        before: ids of the prompt with the prefix, or their end. The first new token is decoded after them: a
            SentencePiece tokenizer drops the space before a text's first word, which it is not.
        seed, sample: the request's seed, and which of its samples this is.
        end: ids that end the response; not part of it.
        max_tokens: the limit, >= 1.
        stop: texts that end it; cut off, with what follows.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        before: Sequence[int],
        *,
        seed: int,
        sample: int,
        end: frozenset[int],
        max_tokens: int,
        stop: Sequence[str],
    ) -> None:
        self._decode = decode
        self._context = list(before[-_CONTEXT:])
        self._context_text = decode(self._context)
        self._random = random.Random(f"{seed}/{sample}")
        self._end, self._max_tokens = end, max_tokens
        self._stop = tuple(text for text in stop if text)
        # A token has a byte or more, so a stop text that ends now began no earlier; a few tokens more, so
        # that it is not read from the middle of a character.
        self._window = max((len(text.encode()) for text in self._stop), default=0) + _CONTEXT
        self._ids: list[int] = []
        self._ended = False

    def draw(self) -> float:
        """The next random number, uniform in [0, 1)."""
        return self._random.random()

    def add(self, token: int) -> bool:
        """Take the next token; whether the completion is over."""
        if token in self._end:
            self._ended = True
            return True
        self._ids.append(token)
        if self._stop and self._stopped_in(self._decode(self._ids[-self._window :])) is not None:
            # The window may read otherwise than the whole does: the whole decides.
            self._ended = self._stopped_in(self._text(len(self._ids))) is not None
        return self._ended or len(self._ids) >= self._max_tokens

    def completion(self) -> Completion:
        """What there is, cut before the first stop text; its tokens are those that the text needs."""
        count = len(self._ids)
        text = self._text(count)
        cut = self._stopped_in(text)
        if cut is None:
            return Completion(text, count, self._ended)
        while count and len(self._text(count - 1)) >= cut:
            count -= 1
        return Completion(text[:cut], count, True)

    def _stopped_in(self, text: str) -> int | None:
        """Where the first stop text begins."""
        found = [place for place in map(text.find, self._stop) if place >= 0]
        return min(found) if found else None

    def _text(self, count: int) -> str:
        """The text of the first `count` tokens."""
        ids = self._ids[:count]
        whole = self._decode(self._context + ids)
        if whole.startswith(self._context_text):
            return whole[len(self._context_text) :]
        return self._decode(ids)  # a tokenizer that rewrites what stands before
