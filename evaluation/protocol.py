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
    """A causal language model: teacher-forced scores at chosen positions, and greedy generation.

    One capability is optional, `ForestModel.score_forest`; a model that lacks it, or has None there, gets padded rows.
    """

    max_seq_len: int
    """Longest input in tokens."""
    vocab_size: int
    """Token ids are 0 .. vocab_size - 1."""

    def score(
        self, tokens_BT: np.ndarray, rows_N: np.ndarray, cols_N: np.ndarray, targets_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(targets_N[n] | tokens_BT[rows_N[n], : cols_N[n] + 1]) in nats (float), and the likeliest token there (int64).

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


class ForestModel(LanguageModel, Protocol):
    """A model that can score continuations of one context without reading the context again for each."""

    def score_forest(
        self, tokens_T: np.ndarray, parents_T: np.ndarray, places_N: np.ndarray, targets_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(targets_N[n] | the tokens from the root down to places_N[n]) in nats (float), and the likeliest token there.

        tokens_T holds trees end to end and parents_T the index of the token before each one, -1 where a tree begins; a
        token follows its parent, and a tree's tokens are contiguous. A token's position is its depth. All int64.
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
