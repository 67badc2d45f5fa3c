"""Any Hugging Face causal language model as evaluation sees it: numpy in, numpy out.

    model = HuggingFaceLanguageModel.load("path/or/hub-name", device="cuda")
    model = HuggingFaceLanguageModel.load_gguf("SmolLM2-135M-Instruct.Q4_1.gguf")   # de-quantised on loading
    logprobs_N, argmax_N = model.score(tokens_BT, rows_N, cols_N, targets_N)

What a model can do is found out by trying a few tokens, not by its name: whether its head applied to its last states gives its
logits (then logits are computed where they are asked for only), and whether it takes a mask and positions of our own (then
`score_forest` exists; else it is None and contexts are read once per choice).

Shapes: B rows of a batch, T positions, D width of the states, V vocabulary, N asked tokens, P places where any is asked.
"""

import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.language_model import BODY_TOKENS, batches_by_length, check_prompts, check_tokens, score_places, token_tensor
from models.transformer import Forest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

PROBE_TOLERANCE = {torch.float32: 1e-4}  # of a logit or log-probability; a coarser dtype gets OTHER_TOLERANCE
OTHER_TOLERANCE = 0.1


class HuggingFaceLanguageModel:
    """Scores and continues token ids with a `transformers` model on its own device and in its own dtype, without gradients.

    `max_seq_len` defaults to the longest input that the model's configuration names. Raises ValueError where it names none.
    """

    def __init__(self, model: "PreTrainedModel", max_seq_len: int | None = None) -> None:
        self.model = model.eval()
        self.device, self.dtype = model.device, model.dtype
        config = model.config.get_text_config()
        longest = next((getattr(config, name) for name in ("max_position_embeddings", "n_positions") if hasattr(config, name)), None)
        if max_seq_len is None and longest is None:
            raise ValueError(f"{type(model).__name__}: its configuration names no longest input; pass max_seq_len")
        self.max_seq_len = max_seq_len or longest
        self.vocab_size = model.get_input_embeddings().num_embeddings
        taken = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in taken
        self._cache_name = "cache" if "cache" in taken else "past_key_values"
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self._weight_VD = self._plain_head()
        if not self._takes_trees(config):
            logger.warning("%s takes no mask of our own: contexts are read again for every choice", type(model).__name__)
            self.score_forest = None

    @classmethod
    def load(cls, source: str | Path, device: torch.device | str = "cpu", max_seq_len: int | None = None) -> "HuggingFaceLanguageModel":
        """A model saved in a directory, or one of that name on the hub: fp32 on a CPU, bf16 elsewhere."""
        from transformers import AutoModelForCausalLM

        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
        return cls(AutoModelForCausalLM.from_pretrained(str(source), dtype=dtype).to(device), max_seq_len)

    @classmethod
    def load_gguf(cls, file: str | Path, device: torch.device | str = "cpu", max_seq_len: int | None = None) -> "HuggingFaceLanguageModel":
        """A model in a GGUF file, its weights de-quantised: not the model that they were quantised from."""
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
        return cls(read_gguf(file).to(device, dtype), max_seq_len)

    @torch.inference_mode()
    def score(
        self, tokens_BT: np.ndarray, rows_N: np.ndarray, cols_N: np.ndarray, targets_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(targets_N[n] | tokens_BT[rows_N[n], : cols_N[n] + 1]) in float64, and the likeliest token as int64.

        tokens_BT is padded on the right, with any token. Raises ValueError for rows longer than max_seq_len and for unknown tokens.
        """
        width = tokens_BT.shape[1]
        self._check_length(width)
        check_tokens(tokens_BT.reshape(-1), self.vocab_size, "tokens")
        rows_at_once = max(1, BODY_TOKENS[self.device.type] // max(1, width))

        def states() -> Iterator[tuple[np.ndarray, Tensor]]:
            for start in range(0, len(tokens_BT), rows_at_once):
                rows = tokens_BT[start : start + rows_at_once]
                places = np.arange(start * width, start * width + rows.size).reshape(rows.shape)
                yield places, self._states(token_tensor(rows, self.device))

        return self._score(states(), np.asarray(rows_N) * width + np.asarray(cols_N), targets_N)

    @torch.inference_mode()
    def score_forest(
        self, tokens_T: np.ndarray, parents_T: np.ndarray, places_N: np.ndarray, targets_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(targets_N[n] | the tokens from its tree's root to places_N[n]) in float64, and the likeliest token as int64.

        A tree is a row, padded to the longest of the few that run at once; its branches are kept apart by a mask. Raises
        ValueError for trees deeper than max_seq_len and for unknown tokens.
        """
        check_tokens(tokens_T, self.vocab_size, "tokens")
        forest = Forest(parents_T, self.device)
        self._check_length(int(forest.positions_T.max()) + 1)
        # rows without branches need no mask; within either kind the order is kept, which is by length where it comes from the scorer
        order = sorted(range(len(forest.trees)), key=lambda tree: forest.trees[tree][3] is None)

        def states() -> Iterator[tuple[np.ndarray, Tensor]]:
            for batch in self._tree_batches(forest, order):
                longest = max(end - begin for begin, _, end, _ in batch)
                places_BT = np.full((len(batch), longest), -1)
                positions_BT = torch.zeros(len(batch), longest, dtype=torch.long, device=self.device)
                masked = any(mask is not None for *_, mask in batch)
                mask_B1TT = torch.full((len(batch), 1, longest, longest), -torch.inf, device=self.device).triu(1) if masked else None
                for row, (begin, bend, end, mask) in enumerate(batch):
                    places_BT[row, : end - begin] = np.arange(begin, end)
                    positions_BT[row, : end - begin] = forest.positions_T[begin:end]
                    if mask is not None:
                        mask_B1TT[row, 0, bend - begin : end - begin, : end - begin] = mask
                tokens_BT = token_tensor(np.where(places_BT < 0, 0, tokens_T[places_BT]), self.device)
                yield places_BT, self._states(tokens_BT, mask_B1TT, positions_BT if masked else None)

        return self._score(states(), places_N, targets_N)

    def _tree_batches(self, forest: Forest, order: list[int]) -> Iterator[list[tuple[int, int, int, Tensor | None]]]:
        """Trees of one kind, masked or not, whose padded rows hold BODY_TOKENS tokens at most."""
        batch, longest = [], 0
        for tree in order:
            begin, _, end, mask = forest.trees[tree]
            longest = max(longest, end - begin)
            full = (len(batch) + 1) * longest > BODY_TOKENS[self.device.type]
            if batch and (full or (batch[-1][3] is None) != (mask is None)):
                yield batch
                batch, longest = [], end - begin
            batch.append(forest.trees[tree])
        if batch:
            yield batch

    def _score(self, states: Iterator[tuple[np.ndarray, Tensor]], places_N: np.ndarray, targets_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take the states of the asked places out of batches of (places (B, T), states (B, T, ...)), and score them."""
        check_tokens(targets_N, self.vocab_size, "targets")
        places_P, place_of_N = np.unique(places_N, return_inverse=True)
        x_PD = None
        for places_BT, x_BTD in states:
            at = np.searchsorted(places_P, places_BT)
            asked = (places_BT >= 0) & (places_P[np.minimum(at, len(places_P) - 1)] == places_BT) if len(places_P) else at < 0
            if x_PD is None:
                x_PD = torch.empty(len(places_P), x_BTD.shape[-1], device=self.device)
            x_PD[token_tensor(at[asked], self.device)] = x_BTD[torch.from_numpy(asked).to(self.device)].float()
        place_of_N, targets_N = token_tensor(place_of_N, self.device), token_tensor(targets_N, self.device)
        if self._weight_VD is not None:
            logprobs_N, argmax_P = score_places(x_PD, self._weight_VD, place_of_N, targets_N)
        else:  # x are logits
            logprobs_N = (x_PD[place_of_N, targets_N] - x_PD.double().logsumexp(1)[place_of_N]).double()
            argmax_P = x_PD.argmax(1)
        return logprobs_N.cpu().numpy(), argmax_P[place_of_N].cpu().numpy()

    def _states(self, tokens_BT: Tensor, mask_B1TT: Tensor | None = None, positions_BT: Tensor | None = None) -> Tensor:
        """Last states (B, T, D) where the head is a plain product, else logits (B, T, V)."""
        given = {"input_ids": tokens_BT, "use_cache": False}
        if mask_B1TT is not None:
            given["attention_mask"] = mask_B1TT.to(self.dtype)
        if positions_BT is not None and self._takes_positions:
            given["position_ids"] = positions_BT
        if self._weight_VD is None:
            return self.model(**given).logits
        return self.model.base_model(**given).last_hidden_state

    @torch.inference_mode()
    def _plain_head(self) -> Tensor | None:
        """The head's matrix, if all that it does to the last states is a product with that; None sends us to the logits."""
        head = self.model.get_output_embeddings()
        if not isinstance(head, torch.nn.Linear) or head.bias is not None:
            return None
        probe = {"input_ids": self._probe_tokens()[None], "use_cache": False}
        x_1TD = getattr(self.model.base_model(**probe), "last_hidden_state", None)
        if x_1TD is None or x_1TD.shape[-1] != head.in_features:
            return None
        same = torch.allclose(head(x_1TD).float(), self.model(**probe).logits.float(), rtol=1e-3, atol=self._tolerance())
        return head.weight if same else None

    @torch.inference_mode()
    def _takes_trees(self, config) -> bool:
        """Whether branches under a mask and positions of ours score as rows do. A window would be overridden by the mask: refused."""
        window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
        layers = set(getattr(config, "layer_types", None) or ("full_attention",))
        if not self._takes_positions or window is not None or layers != {"full_attention"}:
            return False
        tokens = self._probe_tokens().cpu().numpy()
        rows_BT = np.stack([tokens[[0, 1, 2, 3, 4]], tokens[[0, 1, 2, 5, 6]]])
        parents_T = np.array([-1, 0, 1, 2, 3, 2, 5])
        targets_N = tokens[:4]
        alone, _ = self.score(rows_BT, np.array([0, 0, 1, 1]), np.array([3, 4, 3, 4]), targets_N)
        try:
            shared, _ = self.score_forest(tokens, parents_T, np.array([3, 4, 5, 6]), targets_N)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as error:
            logger.info("%s refuses a mask of four dimensions: %s", type(self.model).__name__, error)
            return False
        return bool(np.abs(alone - shared).max() < self._tolerance())

    def _probe_tokens(self) -> Tensor:
        return torch.arange(1, 8, device=self.device) * (self.vocab_size // 9) % self.vocab_size

    def _tolerance(self) -> float:
        return PROBE_TOLERANCE.get(self.dtype, OTHER_TOLERANCE)

    def _check_length(self, num_positions: int) -> None:
        if num_positions > self.max_seq_len:
            raise ValueError(f"language model: {num_positions} positions given to a model that takes {self.max_seq_len}; cut the input")

    @torch.inference_mode()
    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, stop: Callable[[list[int]], bool] | None = None
    ) -> list[list[int]]:
        """Greedy continuation of each prompt, new tokens only, in the prompts' order.

        A row ends after max_new_tokens, or as soon as stop(its new tokens) is true; nothing else ends or changes it, whatever
        the model's own generation settings. Raises ValueError for an empty prompt and where the whole exceeds max_seq_len.
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
        """Extend `continuations` of the prompts in `batch`, padded on the left; rows that end leave the cache where it lets them."""
        longest = max(len(prompts[index]) for index in batch)
        padded = np.array([[0] * (longest - len(prompts[index])) + prompts[index] for index in batch])
        check_tokens(padded.reshape(-1), self.vocab_size, "prompts")
        tokens_BT = token_tensor(padded, self.device)
        lengths_B1 = torch.tensor([[len(prompts[index])] for index in batch], device=self.device)
        mask_BT = (torch.arange(longest, device=self.device) >= longest - lengths_B1).long()
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        rows: list[int | None] = list(batch)
        cache = None
        while True:
            given = {"input_ids": tokens_BT, "attention_mask": mask_BT, "use_cache": True, self._cache_name: cache}
            if self._takes_positions:
                given["position_ids"] = positions_BT
            out = self.model(**given, **self._last_only)
            next_B = out.logits[:, -1].float().argmax(-1)
            cache = out[self._cache_name] if self._cache_name in out else out.past_key_values
            for row, token in enumerate(next_B.tolist()):
                if rows[row] is None:
                    continue
                new = continuations[rows[row]]
                new.append(token)
                if len(new) == max_new_tokens or (stop is not None and stop(new)):
                    rows[row] = None
            going = [row for row, index in enumerate(rows) if index is not None]
            if not going:
                return
            if len(going) < len(rows) and hasattr(cache, "batch_select_indices"):
                kept = torch.tensor(going, device=self.device)
                cache.batch_select_indices(kept)
                next_B, mask_BT, positions_BT = next_B[kept], mask_BT[kept], positions_BT[kept]
                rows = [rows[row] for row in going]
            tokens_BT = next_B[:, None]
            mask_BT = torch.cat((mask_BT, torch.ones_like(tokens_BT)), 1)
            positions_BT = positions_BT[:, -1:] + 1


def read_gguf(file: str | Path) -> "PreTrainedModel":
    """The model in a GGUF file, in fp32."""
    from transformers import AutoModelForCausalLM

    read = AutoModelForCausalLM.from_pretrained(str(Path(file).parent), gguf_file=Path(file).name, dtype=torch.float32)
    del read.config.quantization_config
    model = type(read)(read.config)  # a fresh one: that which was read still counts as quantised
    model.load_state_dict(read.state_dict())
    return model.eval()


def gguf_tokenizer(file: str | Path):
    """The `tokenizers.Tokenizer` in a GGUF file, and the name of its end-of-text token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(Path(file).parent), gguf_file=Path(file).name)
    return tokenizer.backend_tokenizer, tokenizer.eos_token
