r"""Texts to int32 token ids, each distinct piece tokenised once.

Where the tokenizer splits at newlines, the ids of a text are those of its lines joined by the newline's: an example that
stands in eleven preambles, a passage with ten questions and a question that returns as an example cost one tokenisation. A
newline with white space beside it ("a \nb") may belong to a token with it, so there nothing is cut.

Cost: about 1 microsecond of one core per token that is tokenised; 1 per further preamble for each of its examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .protocol import Tokenizer
from .tokenizer_content import splits_at_newlines

EXAMPLE_DELIMITER = "\n"
_AT_ONCE = 1024  # texts per call of the tokenizer: bounds memory, keeps its threads busy


class Encoder:
    """A tokenizer that gives arrays and remembers what it has seen. Special tokens (a BOS, say) go with preambles only."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self._seen: dict[str, np.ndarray] = {}
        self._cuts = splits_at_newlines(tokenizer)
        self._newline = _int32(tokenizer.encode("\n", add_special_tokens=False))
        self._front = next(self._whole_preambles([""]))
        plain = tokenizer.encode("a", add_special_tokens=False)
        self._only_front = tokenizer.encode("a", add_special_tokens=True) == [*self._front.tolist(), *plain]

    def ids(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """int32 ids of each text, in order and without special tokens; equal texts may share an array."""
        for start in range(0, len(texts), _AT_ONCE):
            pieces = [self._pieces(text) for text in texts[start : start + _AT_ONCE]]
            new = list(dict.fromkeys(piece for each in pieces for piece in each if piece not in self._seen))
            self._seen.update(zip(new, map(_int32, self._batches(new, special=False)), strict=True))
            for each in pieces:
                yield self._joined([self._seen[piece] for piece in each])

    def longest(self, texts: Sequence[str]) -> int:
        """Tokens of the longest text, special ones included; 0 for no text."""
        return max(map(len, self._batches(texts, special=True)), default=0)

    def preambles(self, examples: Sequence[str], drawn: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
        """Ids of one preamble per entry of `drawn`, which lists its examples in the order in which they are shown.

        A preamble is one text, the examples joined by newlines, with the tokenizer's special tokens.
        """
        if not (self._cuts and self._only_front):
            yield from self._whole_preambles([join_examples(examples, shots) for shots in drawn])
            return
        groups = [_groups(examples, shots) for shots in drawn]
        distinct = list(dict.fromkeys(group for each in groups for group in each))
        ids_of = dict(zip(distinct, self.ids([join_examples(examples, group) for group in distinct]), strict=True))
        for each in groups:
            yield self._without_eos(np.concatenate([self._front, *self._between([ids_of[group] for group in each])]))

    def _whole_preambles(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        return map(self._without_eos, map(_int32, self._batches(texts, special=True)))

    def _without_eos(self, ids: np.ndarray) -> np.ndarray:
        """An EOS behind the prompt would end it before its question; alone it is the BOS of an empty preamble."""
        return ids[:-1] if len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id else ids

    def _joined(self, pieces: list[np.ndarray]) -> np.ndarray:
        return pieces[0] if len(pieces) == 1 else np.concatenate(self._between(pieces))

    def _between(self, pieces: list[np.ndarray]) -> list[np.ndarray]:
        """The arrays with the newline's ids between them."""
        return [part for piece in pieces for part in (self._newline, piece)][1:]

    def _pieces(self, text: str) -> list[str]:
        """The text cut at every newline that has no white space beside it; joined by newlines they are the text again."""
        if not self._cuts or "\n" not in text:
            return [text]
        first, *lines = text.split("\n")
        pieces = [first]
        open_end = first[-1:].isspace()  # an empty first line is no white space: the text begins with the newline
        for number, line in enumerate(lines, start=1):
            if open_end or line[:1].isspace() or (not line and number < len(lines)):
                pieces[-1] += "\n" + line
            else:
                pieces.append(line)
            open_end = not line or line[-1].isspace()
        return pieces

    def _batches(self, texts: Sequence[str], special: bool) -> Iterator[list[int]]:
        batch = getattr(self.tokenizer, "encode_batch", None)
        for start in range(0, len(texts), _AT_ONCE):
            some = list(texts[start : start + _AT_ONCE])
            if batch is not None:
                yield from batch(some, add_special_tokens=special)
            else:
                yield from (self.tokenizer.encode(text, add_special_tokens=special) for text in some)


def join_examples(examples: Sequence[str], shots: Sequence[int]) -> str:
    """The preamble as the text that it is."""
    return EXAMPLE_DELIMITER.join([examples[shot] for shot in shots])


def _groups(examples: Sequence[str], shots: Sequence[int]) -> list[tuple[int, ...]]:
    """The shots, those kept together between which the newline has white space beside it (or an empty example)."""
    groups: list[tuple[int, ...]] = []
    open_end = False
    for shot in shots:
        text = examples[shot]
        if groups and (open_end or not text or text[0].isspace()):
            groups[-1] += (shot,)
        else:
            groups.append((shot,))
        open_end = not text or text[-1].isspace()
    return groups


def _int32(ids: list[int]) -> np.ndarray:
    return np.asarray(ids, dtype=np.int32)
