"""What the evaluation knows of a language model and of a tokenizer.

A model satisfies `LanguageModel` structurally: numpy in, numpy out, so nothing here imports torch and nothing in models/
imports this package. Legend: B rows of a batch, T positions, N (row, column) pairs at which a token is scored.

Usage: `tokenizer = HuggingFaceTokenizer("tokenizer.json")`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import tokenizers


class LanguageModel(Protocol):
    """A causal language model: teacher-forced scores at chosen positions, and greedy generation."""

    max_seq_len: int
    """Longest input in tokens."""
    vocab_size: int
    """Token ids are 0 .. vocab_size - 1."""

    def score(
        self, tokens_BT: np.ndarray, rows_N: np.ndarray, cols_N: np.ndarray, targets_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(targets_N[n] | tokens_BT[rows_N[n], : cols_N[n] + 1]) in nats (float32), and the likeliest token there (int64).

        tokens_BT is int64 and right-padded with 0; the model is causal, so padding after a scored position is harmless.
        The LM head is needed at the N positions asked for only.
        """
        ...

    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, stop: Callable[[list[int]], bool] | None = None
    ) -> list[list[int]]:
        """Greedy continuation of every prompt, new tokens only.

        A row ends at max_new_tokens, or as soon as `stop(new_tokens)` is true, which is asked after each token.
        """
        ...


class Tokenizer(Protocol):
    """Text to token ids and back. An optional `encode_batch(texts, add_special_tokens)` is used where it exists."""

    eos_token_id: int | None

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Token ids; with `add_special_tokens` whatever the tokenizer adds to a text of its own (a BOS, say)."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Text of the ids, special tokens left out."""
        ...


class HuggingFaceTokenizer:
    """A `tokenizers.Tokenizer`, or the path of its tokenizer.json, as a `Tokenizer`.

    `eos_token` names the end-of-text token; None for a tokenizer that has none. Raises ValueError where the vocabulary
    lacks it. Padding and truncation stored in the file are switched off: the evaluation does both itself.
    """

    def __init__(self, source: str | Path | tokenizers.Tokenizer, eos_token: str | None = "<|endoftext|>"):
        from tokenizers import Tokenizer as Backend

        self._backend = Backend.from_file(str(source)) if isinstance(source, str | Path) else source
        self._backend.no_padding()
        self._backend.no_truncation()
        self.eos_token_id: int | None = None
        if eos_token is not None:
            self.eos_token_id = self._backend.token_to_id(eos_token)
            if self.eos_token_id is None:
                raise ValueError(
                    f"tokenizer: the vocabulary of {self._backend.get_vocab_size()} tokens has no {eos_token!r}; "
                    "pass the name of its end-of-text token as eos_token, or None if it has none"
                )
        self.vocab_size = self._backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self._backend.encode(text, add_special_tokens=add_special_tokens).ids

    def encode_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[list[int]]:
        # the fast variant computes no offsets: about a third quicker
        return [each.ids for each in self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)]

    def decode(self, ids: list[int]) -> str:
        return self._backend.decode(ids, skip_special_tokens=True)
