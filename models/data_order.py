"""What a step trains on: the sequences, the order they come in, and a batch of them on the device.

The order is a function of (seed, epoch) alone, so that a resumed run needs no more than its step to go on with it.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.transformer import TransformerConfig


class Sequences(Protocol):
    """What training reads: an array (num_sequences, seq_len + 1) of token ids; a numpy memmap will do."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...

    def __len__(self) -> int: ...


class DataOrder:
    """Which rows each step trains on: epoch after epoch, each a permutation of all rows drawn from (seed, epoch)."""

    def __init__(self, num_rows: int, seed: int) -> None:
        self.num_rows, self.seed = num_rows, seed
        self.epoch = -1
        self.permutation = np.empty(0, dtype=np.int64)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows at places start to stop of the endless order; a batch may straddle two epochs."""
        pieces = []
        while start < stop:
            epoch, offset = divmod(start, self.num_rows)
            if epoch != self.epoch:
                self.epoch = epoch
                self.permutation = np.random.default_rng([self.seed, epoch]).permutation(self.num_rows)
            taken = self.permutation[offset : offset + stop - start]
            pieces.append(taken)
            start += len(taken)
        return np.concatenate(pieces)


def load_batch(sequences: Sequences, rows: np.ndarray, config: TransformerConfig, device: torch.device) -> Tensor:
    """Rows of the sequences as int64 tokens (rows, seq_len + 1) on the device. Raises ValueError for a token outside the vocabulary."""
    batch_BT = np.asarray(sequences[rows]).astype(np.int64)
    if batch_BT.max() >= config.vocab_size:
        row, column = np.argwhere(batch_BT >= config.vocab_size)[0]
        raise ValueError(
            f"train: sequence {rows[row]} holds token {batch_BT[row, column]}, the model's vocabulary ends at "
            f"{config.vocab_size - 1}; tokenise with the model's tokenizer or raise vocab_size"
        )
    return torch.from_numpy(batch_BT).to(device)


def check_sequences(sequences: Sequences, config: TransformerConfig, *, at_least: int = 1, name: str = "sequences") -> None:
    """Refuse sequences of another shape or type than the model takes, and fewer than `at_least`. Raises ValueError."""
    if len(sequences.shape) != 2 or sequences.shape[1] != config.seq_len + 1:
        raise ValueError(
            f"train: {name} have shape {tuple(sequences.shape)}, a model of seq_len {config.seq_len} needs "
            f"(N, {config.seq_len + 1}); tokenise with this seq_len"
        )
    if np.dtype(sequences.dtype).kind != "u":
        raise ValueError(f"train: {name} are {sequences.dtype}; give unsigned integers such as uint16")
    if sequences.shape[0] < at_least:
        raise ValueError(f"train: {sequences.shape[0]} {name} are too few for one batch of {at_least}; tokenise more text")
