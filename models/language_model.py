"""A trained decoder as evaluation sees it: numpy in, numpy out, torch inside.

    model = TransformerLanguageModel.load("runs/nano")
    logprobs_N, argmax_N = model.score(tokens_BT, rows_N, cols_N, targets_N)
    logprobs_N, argmax_N = model.score_forest(tokens_T, parents_T, places_N, targets_N)
    continuations = model.generate([[5, 17, 3]], max_new_tokens=20)

fp32 on a CPU, bf16 on a GPU; the head is fp32 everywhere, and what it comes to fp64, so that a sum over tokens loses nothing.

Shapes: B rows of a batch, T positions, D d_model, V vocabulary, N asked tokens, P places where any is asked.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import load_model
from models.transformer import Forest, KVCache, Transformer

# What goes through at once, by device: a CPU core wants its caches to hold it, a GPU wants large products.
BODY_TOKENS = {"cpu": 2**11, "cuda": 2**16}
HEAD_LOGITS = {"cpu": 2**18, "cuda": 2**27}
HEAD_PLACES = {"cpu": 2**8, "cuda": 2**12}
GENERATE_ROWS = 32


def score_places(x_PD: Tensor, weight_VD: Tensor, place_of_N: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """log p (N, fp64) of each target at its place under softmax(x @ weight.T), and the likeliest token of each place (P).

    The vocabulary goes by in blocks under a running maximum and sum, so that the logits at hand stay in a CPU's cache.
    """
    device = x_PD.device
    places_at_once = HEAD_PLACES[device.type]
    block = max(1, HEAD_LOGITS[device.type] // places_at_once)
    log_sum_P = torch.empty(len(x_PD), dtype=torch.double, device=device)
    argmax_P = torch.zeros(len(x_PD), dtype=torch.long, device=device)
    for start in range(0, len(x_PD), places_at_once):
        x_CD = x_PD[start : start + places_at_once]
        largest_C = torch.full((len(x_CD),), -torch.inf, device=device)
        sum_C, argmax_C = torch.zeros_like(largest_C), argmax_P[start : start + places_at_once]
        for first in range(0, len(weight_VD), block):
            logits_CV = x_CD @ weight_VD[first : first + block].T.float()
            here_C, at_C = logits_CV.max(1)
            argmax_C.copy_(torch.where(here_C > largest_C, at_C + first, argmax_C))
            now_C = torch.maximum(largest_C, here_C)
            sum_C = sum_C * (largest_C - now_C).exp() + logits_CV.sub_(now_C[:, None]).exp_().sum(1)
            largest_C = now_C
        log_sum_P[start : start + places_at_once] = largest_C.double() + sum_C.double().log()
    logprobs_N = torch.empty(len(targets_N), dtype=torch.double, device=device)
    for start in range(0, len(targets_N), places_at_once):
        part = slice(start, start + places_at_once)
        place_C = place_of_N[part]
        logits_C = (x_PD[place_C].double() * weight_VD[targets_N[part]].double()).sum(1)
        logprobs_N[part] = logits_C - log_sum_P[place_C]
    return logprobs_N, argmax_P


def token_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Indices as an int64 tensor on the device."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(device)


def check_tokens(tokens: np.ndarray, vocab_size: int, what: str) -> None:
    """ValueError for a token that the model does not know."""
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        raise ValueError(
            f"language model: {what} hold ids from {int(tokens.min())} to {int(tokens.max())}, the vocabulary has "
            f"{vocab_size}; encode with the tokenizer that the model was trained with"
        )


def check_prompts(prompts: list[list[int]], max_new_tokens: int, max_seq_len: int) -> None:
    """ValueError for an empty prompt, and for one that leaves no room for its new tokens."""
    for index, prompt in enumerate(prompts):
        if not prompt or len(prompt) + max_new_tokens > max_seq_len:
            raise ValueError(
                f"generate: prompt {index} has {len(prompt)} tokens; with {max_new_tokens} new ones it must have "
                f"between 1 and {max_seq_len - max_new_tokens}: cut it, keeping its end"
            )


def batches_by_length(prompts: list[list[int]]) -> Iterator[list[int]]:
    """Indices of the prompts in batches of GENERATE_ROWS, the shortest first: prompts of similar length share a batch."""
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(by_length), GENERATE_ROWS):
        yield by_length[start : start + GENERATE_ROWS]


class TransformerLanguageModel:
    """Scores and continues token ids with a decoder on its own device, without gradients.

    `dtype` is what the body computes in; None takes fp32 on a CPU and bf16 elsewhere.
    """

    def __init__(self, model: Transformer, dtype: torch.dtype | None = None) -> None:
        self.model = model.eval()
        self.device = model.output.weight.device
        self.dtype = dtype or (torch.float32 if self.device.type == "cpu" else torch.bfloat16)
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
        """log p(targets_N[n] | tokens_BT[rows_N[n], : cols_N[n] + 1]) in float64, and the likeliest token as int64.

        tokens_BT is padded on the right, with any token: attention is causal, so nothing before sees it. The head runs
        only at the places asked for. Raises ValueError for rows longer than max_seq_len and for unknown tokens.
        """
        num_rows, width = tokens_BT.shape
        rows_at_once = max(1, BODY_TOKENS[self.device.type] // max(1, width))
        starts = range(0, num_rows, rows_at_once)
        pieces = [(start * width, min(start + rows_at_once, num_rows) * width) for start in starts]
        flat_T = np.ascontiguousarray(tokens_BT, dtype=np.int64).reshape(-1)

        def hidden(begin: int, end: int) -> Tensor:
            return self._hidden(token_tensor(flat_T[begin:end], self.device).view(-1, width)).flatten(0, 1)

        return self._score(flat_T, pieces, np.asarray(rows_N) * width + np.asarray(cols_N), targets_N, hidden)

    @torch.inference_mode()
    def score_forest(
        self, tokens_T: np.ndarray, parents_T: np.ndarray, places_N: np.ndarray, targets_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(targets_N[n] | the tokens from its tree's root to places_N[n]) in float64, and the likeliest token as int64.

        A token's parent stands before it, -1 at a root, and a tree's tokens are contiguous. Nothing is padded: all but
        attention runs on one row of tokens. Raises ValueError for trees deeper than max_seq_len and for unknown tokens.
        """
        begins = [*np.flatnonzero(np.asarray(parents_T) < 0).tolist(), len(tokens_T)]
        pieces, start = [], 0
        for begin, end in zip(begins, begins[1:], strict=False):
            if end - start > BODY_TOKENS[self.device.type] and begin > start:
                pieces.append((start, begin))
                start = begin
        pieces.append((start, len(tokens_T)))

        def hidden(begin: int, end: int) -> Tensor:
            forest = Forest(np.maximum(parents_T[begin:end] - begin, -1), self.device)
            return self._hidden(token_tensor(tokens_T[begin:end], self.device)[None], forest)[0]

        return self._score(tokens_T, pieces, places_N, targets_N, hidden)

    def _score(
        self,
        tokens_T: np.ndarray,
        pieces: list[tuple[int, int]],
        places_N: np.ndarray,
        targets_N: np.ndarray,
        hidden: Callable[[int, int], Tensor],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the body over the pieces of the flat tokens, keep the states that are asked for, and run the head on those."""
        check_tokens(tokens_T, self.vocab_size, "tokens")
        check_tokens(targets_N, self.vocab_size, "targets")
        places_P, place_of_N = np.unique(places_N, return_inverse=True)
        x_PD = torch.empty(len(places_P), self.model.config.d_model, device=self.device)
        for begin, end in pieces:
            first, last = np.searchsorted(places_P, (begin, end)).tolist()
            if first < last:
                x_PD[first:last] = hidden(begin, end)[token_tensor(places_P[first:last] - begin, self.device)].float()
        place_of_N = token_tensor(place_of_N, self.device)
        logprobs_N, argmax_P = score_places(x_PD, self.model.output.weight, place_of_N, token_tensor(targets_N, self.device))
        return logprobs_N.cpu().numpy(), argmax_P[place_of_N].cpu().numpy()

    def _hidden(self, tokens_BT: Tensor, past: KVCache | Forest | None = None) -> Tensor:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model.hidden(tokens_BT, past)

    @torch.inference_mode()
    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, stop: Callable[[list[int]], bool] | None = None
    ) -> list[list[int]]:
        """Greedy continuation of each prompt, new tokens only, in the prompts' order.

        A row ends after max_new_tokens, or as soon as stop(its new tokens) is true. Prompts of similar length share a
        batch. Raises ValueError for an empty prompt and where prompt and new tokens exceed max_seq_len.
        """
        check_prompts(prompts, max_new_tokens, self.max_seq_len)
        continuations: list[list[int]] = [[] for _ in prompts]
        if max_new_tokens < 1:
            return continuations
        for batch in batches_by_length(prompts):
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
        tokens_BT = np.array([prompts[index] + [0] * (longest - len(prompts[index])) for index in batch])
        check_tokens(tokens_BT, self.vocab_size, "prompts")
        cache = KVCache(self.model.config, len(batch), longest + max_new_tokens, self.device)
        x_BTD = self._hidden(token_tensor(tokens_BT, self.device), cache)
        cache.lengths_B = cache.lengths_B + lengths_B
        x_BD = x_BTD[torch.arange(len(batch), device=self.device), lengths_B - 1]
        while True:
            next_B = self.model.output(x_BD.float()).argmax(-1)
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
            x_BD = self._hidden(next_B[:, None], cache)[:, 0]
            cache.lengths_B = cache.lengths_B + 1
