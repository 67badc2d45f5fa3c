"""A trained decoder as evaluation sees it: numpy in, numpy out, torch inside.

    model = TransformerLanguageModel.load("runs/nano")
    logprobs_N, argmax_N = model.score(tokens_BT, rows_N, cols_N, targets_N)
    continuations = model.generate([[5, 17, 3]], max_new_tokens=20)

Shapes: B rows of a batch, T positions, D d_model, V vocabulary, N asked positions.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import load_model
from models.transformer import KVCache, Transformer

# What goes through at once, by device: a CPU core wants its caches to hold it, a GPU wants large products.
BODY_TOKENS = {"cpu": 2**11, "cuda": 2**16}
HEAD_LOGITS = {"cpu": 2**18, "cuda": 2**27}
GENERATE_ROWS = 32


class TransformerLanguageModel:
    """Scores and continues token ids with a decoder on its own device, in fp32 and without gradients."""

    def __init__(self, model: Transformer) -> None:
        self.model = model.eval()
        self.device = model.output.weight.device
        self.max_seq_len = model.config.seq_len
        self.vocab_size = model.config.vocab_size

    @classmethod
    def load(cls, directory: Path | str, device: torch.device | str = "cpu") -> "TransformerLanguageModel":
        """The model that training saved in `directory`."""
        return cls(load_model(directory, device))

    @torch.inference_mode()
    def score(
        self, tokens_BT: np.ndarray, rows_N: np.ndarray, cols_N: np.ndarray, targets_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(targets_N[n] | tokens_BT[rows_N[n], : cols_N[n] + 1]) as float32, and the likeliest token as int64.

        tokens_BT is padded on the right, with any token: attention is causal, so nothing before sees it. The head runs
        only at the N places asked for. Raises ValueError for rows longer than max_seq_len and for unknown tokens.
        """
        tokens_BT, rows_N, cols_N, targets_N = (
            torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(self.device)
            for array in (tokens_BT, rows_N, cols_N, targets_N)
        )
        self._check_tokens(tokens_BT, "tokens")
        self._check_tokens(targets_N, "targets")
        x_ND = torch.empty(len(rows_N), self.model.config.d_model, device=self.device)
        rows_at_once = max(1, BODY_TOKENS[self.device.type] // max(1, tokens_BT.shape[1]))
        for start in range(0, len(tokens_BT), rows_at_once):
            asked = ((rows_N >= start) & (rows_N < start + rows_at_once)).nonzero()[:, 0]
            if len(asked):
                x_BTD = self.model.hidden(tokens_BT[start : start + rows_at_once])
                x_ND[asked] = x_BTD[rows_N[asked] - start, cols_N[asked]]

        logprobs_N = torch.empty(len(rows_N), device=self.device)
        argmax_N = torch.empty(len(rows_N), dtype=torch.long, device=self.device)
        places_at_once = max(1, HEAD_LOGITS[self.device.type] // self.vocab_size)
        for start in range(0, len(rows_N), places_at_once):
            part = slice(start, start + places_at_once)
            logits_NV = self.model.output(x_ND[part]).float()
            argmax_N[part] = logits_NV.argmax(-1)
            target_logits_N = logits_NV.gather(1, targets_N[part, None])[:, 0]
            logprobs_N[part] = target_logits_N - logits_NV.logsumexp(-1)
        return logprobs_N.cpu().numpy(), argmax_N.cpu().numpy()

    @torch.inference_mode()
    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, stop: Callable[[list[int]], bool] | None = None
    ) -> list[list[int]]:
        """Greedy continuation of each prompt, new tokens only, in the prompts' order.

        A row ends after max_new_tokens, or as soon as stop(its new tokens) is true. Prompts of similar length share a
        batch. Raises ValueError for an empty prompt and where prompt and new tokens exceed max_seq_len.
        """
        for index, prompt in enumerate(prompts):
            if not prompt or len(prompt) + max_new_tokens > self.max_seq_len:
                raise ValueError(
                    f"generate: prompt {index} has {len(prompt)} tokens; with {max_new_tokens} new ones it must have "
                    f"between 1 and {self.max_seq_len - max_new_tokens}: cut it, keeping its end"
                )
        continuations: list[list[int]] = [[] for _ in prompts]
        if max_new_tokens < 1:
            return continuations
        by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        for start in range(0, len(by_length), GENERATE_ROWS):
            batch = by_length[start : start + GENERATE_ROWS]
            self._continue_batch(batch, prompts, continuations, max_new_tokens, stop)
        return continuations

    def _continue_batch(
        self,
        batch: list[int],
        prompts: list[list[int]],
        continuations: list[list[int]],
        max_new_tokens: int,
        stop: Callable[[list[int]], bool] | None,
    ) -> None:
        """Extend `continuations` of the prompts in `batch`; rows that end leave the cache."""
        lengths_B = torch.tensor([len(prompts[index]) for index in batch], device=self.device)
        longest = int(lengths_B.max())
        tokens_BT = torch.tensor([prompts[index] + [0] * (longest - len(prompts[index])) for index in batch])
        tokens_BT = tokens_BT.to(self.device)
        self._check_tokens(tokens_BT, "prompts")
        cache = KVCache(self.model.config, len(batch), longest + max_new_tokens, self.device)
        x_BTD = self.model.hidden(tokens_BT, cache)
        cache.lengths_B = cache.lengths_B + lengths_B
        x_BD = x_BTD[torch.arange(len(batch), device=self.device), lengths_B - 1]
        while True:
            next_B = self.model.output(x_BD).argmax(-1)
            going = []
            for row, (index, token) in enumerate(zip(batch, next_B.tolist(), strict=True)):
                new = continuations[index]
                new.append(token)
                if len(new) < max_new_tokens and not (stop is not None and stop(new)):
                    going.append(row)
            if not going:
                return
            if len(going) < len(batch):
                rows = torch.tensor(going, device=self.device)
                cache.keep_rows(rows)
                next_B, batch = next_B[rows], [batch[row] for row in going]
            x_BD = self.model.hidden(next_B[:, None], cache)[:, 0]
            cache.lengths_B = cache.lengths_B + 1

    def _check_tokens(self, tokens: Tensor, what: str) -> None:
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.vocab_size:
            raise ValueError(
                f"language model: {what} hold ids from {int(tokens.min())} to {int(tokens.max())}, the vocabulary has "
                f"{self.vocab_size}; encode with the tokenizer that the model was trained with"
            )
