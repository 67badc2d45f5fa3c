"""The OpenLM decoder on which DCLM trains every scale.

Pre-norm, LayerNorm with a gain and no bias, QK-norm over the full width before rotary positions, SwiGLU, no bias
anywhere, untied embeddings, no document mask: a packed context attends across its end-of-text tokens.

    model = Transformer(SCALES["nano"].model, seed=0)
    logits_BTV = model(tokens_BT)
    loss = model.loss(tokens_BT, targets_BT, z_loss_weight=1e-4)

Shapes: B batch, T positions of the input, S positions a cache holds, D d_model, H heads, K = D / H head width,
F ffn_dim, V vocabulary, N = B * T tokens, L layers.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-5
ROTARY_BASE = 10_000.0
INIT_CLIP_SIGMAS = 3.0


def published_ffn_dim(d_model: int) -> int:
    """SwiGLU width of OpenLM: 8/3 * d_model, rounded up to a multiple of 256."""
    return 256 * ((8 * d_model // 3 + 255) // 256)


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Shape of a decoder; nothing else about it varies between scales."""

    vocab_size: int
    """Rows of the embedding and of the head; every token id is below it."""
    d_model: int
    """Width of the residual stream."""
    num_layers: int
    num_heads: int
    """Heads share d_model equally, each of an even width."""
    seq_len: int
    """Positions of a training context, and the longest input the model takes."""
    ffn_dim: int = 0
    """Width inside SwiGLU; 0 asks for the published rule and is replaced by its answer."""

    def __post_init__(self) -> None:
        if self.ffn_dim == 0:
            object.__setattr__(self, "ffn_dim", published_ffn_dim(self.d_model))
        for name in ("vocab_size", "d_model", "num_layers", "num_heads", "seq_len", "ffn_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"TransformerConfig: {name} is {getattr(self, name)}; give a positive number")
        if self.d_model % (2 * self.num_heads):
            raise ValueError(
                f"TransformerConfig: d_model {self.d_model} over {self.num_heads} heads is not an even whole width, "
                "which rotary positions need; change d_model or num_heads"
            )

    @property
    def num_parameters(self) -> int:
        """All trainable parameters."""
        return self.num_published_parameters + self.num_layers * 2 * self.d_model

    @property
    def num_published_parameters(self) -> int:
        """Parameters as DCLM counts them (411,616,256 for 400m-1x), of which its token budgets are multiples.

        That count leaves out the two QK-norm gains of each layer, 2 * num_layers * d_model in all.
        """
        d = self.d_model
        layer = 3 * d * d + d * d + 2 * d * self.ffn_dim + self.ffn_dim * d + 2 * d
        return 2 * self.vocab_size * d + self.num_layers * layer + d


@lru_cache(maxsize=8)
def rotary_tables(num_positions: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines, each (num_positions, head_dim), of position * 10,000^(-2i / head_dim).

    The sines of the first half are negated, so that `rotate` is two products and a roll. Source: RoFormer, section
    3.4.2, with the pairing (i, i + head_dim / 2) of GPT-NeoX.
    """
    frequency = ROTARY_BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.outer(torch.arange(num_positions, dtype=torch.float64), frequency)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), -1).float().to(device), torch.cat((-sin, sin), -1).float().to(device)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (i, i + K/2) of x (..., K) by its position's angle; cos and sin are `rotary_tables`' rows."""
    return (x * cos + x.roll(x.shape[-1] // 2, -1) * sin).to(x.dtype)


class KVCache:
    """Keys and values of the positions that each row has seen, so that generation computes only the new ones.

    Rows may differ in length: a row's next token is written at, and its query masked to, that row's own length, so
    what right padding left beyond it is never seen and soon overwritten.
    """

    def __init__(self, config: TransformerConfig, batch_size: int, num_positions: int, device: torch.device) -> None:
        head_dim = config.d_model // config.num_heads
        shape = (config.num_layers, batch_size, num_positions, config.num_heads, head_dim)
        self.keys_LBSHK = torch.zeros(shape, device=device)
        self.values_LBSHK = torch.zeros(shape, device=device)
        self.lengths_B = torch.zeros(batch_size, dtype=torch.long, device=device)

    def positions(self, num_new: int) -> Tensor:
        """Positions (B, num_new) that the next `num_new` tokens of each row take."""
        return self.lengths_B[:, None] + torch.arange(num_new, device=self.lengths_B.device)

    def keep_rows(self, rows: Tensor) -> None:
        """Forget all rows but these indices: finished rows cost nothing more."""
        self.keys_LBSHK, self.values_LBSHK = self.keys_LBSHK[:, rows], self.values_LBSHK[:, rows]
        self.lengths_B = self.lengths_B[rows]


class Forest:
    """Token trees laid end to end in one row: each token sees itself, its parent, and so on to the root of its tree.

    `parents_T` gives the place of the token before each one, -1 where a tree begins; a tree's tokens are contiguous and
    follow their parents. `positions_T` is the depth of each. The trunk that a tree begins with is ordinary causal
    attention; only the branches behind it need a mask, of (tokens of the branches, tokens of the tree).
    """

    def __init__(self, parents_T: np.ndarray, device: torch.device) -> None:
        places_T = np.arange(len(parents_T))
        roots = np.flatnonzero(parents_T < 0)
        bends = np.flatnonzero((parents_T != places_T - 1) & (parents_T >= 0))
        ends = np.append(roots[1:], len(parents_T))
        positions_T = places_T - np.repeat(roots, ends - roots)
        self.trees: list[tuple[int, int, int, Tensor | None]] = []
        """(begin, end of the trunk, end, mask of the branches) of each tree."""
        first_bends = np.append(bends, len(parents_T))[np.searchsorted(bends, roots)]
        for begin, bend, end in zip(roots.tolist(), np.minimum(first_bends, ends).tolist(), ends.tolist(), strict=True):
            if bend == end:
                self.trees.append((begin, end, end, None))
                continue
            sees = np.zeros((end - bend, end - begin), dtype=bool)
            for row, parent in enumerate(parents_T[bend:end].tolist()):
                if parent < bend:
                    sees[row, : parent - begin + 1] = True
                else:
                    sees[row] = sees[parent - bend]
                sees[row, bend - begin + row] = True
                positions_T[bend + row] = positions_T[parent] + 1
            mask = torch.from_numpy(np.where(sees, np.float32(0), np.float32("-inf"))).to(device)
            self.trees.append((begin, bend, end, mask))
        self.positions_T = torch.from_numpy(positions_T).to(device)

    def attend(self, q_1THK: Tensor, k_1THK: Tensor, v_1THK: Tensor) -> Tensor:
        """Attention tree by tree, (1, T, H, K) each: no product is computed between trees."""
        out_1THK = torch.empty_like(q_1THK)
        q_1HTK, k_1HTK, v_1HTK, out_1HTK = (each.transpose(1, 2) for each in (q_1THK, k_1THK, v_1THK, out_1THK))
        for begin, bend, end, mask in self.trees:
            q, k, v = (each[:, :, begin:bend] for each in (q_1HTK, k_1HTK, v_1HTK))
            out_1HTK[:, :, begin:bend] = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            if mask is not None:
                k, v = k_1HTK[:, :, begin:end], v_1HTK[:, :, begin:end]
                out_1HTK[:, :, bend:end] = F.scaled_dot_product_attention(
                    q_1HTK[:, :, bend:end], k, v, attn_mask=mask.to(q.dtype)
                )
        return out_1THK


class GainNorm(nn.Module):
    """LayerNorm with a gain and no bias, in the compute dtype under autocast (OpenLM's low-precision norm)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x_BTD: Tensor) -> Tensor:
        device = x_BTD.device.type
        if not torch.is_autocast_enabled(device):
            return F.layer_norm(x_BTD, self.weight.shape, self.weight, None, NORM_EPS)
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return F.layer_norm(x_BTD.to(dtype), self.weight.shape, self.weight.to(dtype), None, NORM_EPS)


class Attention(nn.Module):
    """Causal multi-head attention with one fused input projection, QK-norm over all heads together, then rotary."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        d = config.d_model
        self.layer, self.seq_len = layer, config.seq_len
        self.num_heads, self.head_dim = config.num_heads, d // config.num_heads
        self.in_proj = nn.Linear(d, 3 * d, bias=False)
        self.q_norm = GainNorm(d)
        self.k_norm = GainNorm(d)
        self.out_proj = nn.Linear(d, d, bias=False)

    def forward(self, x_BTD: Tensor, past: KVCache | Forest | None) -> Tensor:
        B, T, D = x_BTD.shape
        heads = (B, T, self.num_heads, self.head_dim)
        q_BTD, k_BTD, v_BTD = self.in_proj(x_BTD).view(B, T, 3, D).unbind(2)
        q_BTHK, k_BTHK, v_BTHK = self.q_norm(q_BTD).view(heads), self.k_norm(k_BTD).view(heads), v_BTD.view(heads)
        cos_SK, sin_SK = rotary_tables(self.seq_len, self.head_dim, x_BTD.device)

        if past is None:
            cos, sin = cos_SK[:T, None], sin_SK[:T, None]
        else:
            positions_BT = past.positions_T[None] if isinstance(past, Forest) else past.positions(T)
            cos, sin = cos_SK[positions_BT][:, :, None], sin_SK[positions_BT][:, :, None]
        q_BTHK, k_BTHK = rotate(q_BTHK, cos, sin), rotate(k_BTHK, cos, sin)
        if isinstance(past, Forest):
            return self.out_proj(past.attend(q_BTHK, k_BTHK, v_BTHK).reshape(B, T, D))

        mask_B1TS = None
        if past is not None:
            rows_B1 = torch.arange(B, device=x_BTD.device)[:, None]
            keys_BSHK, values_BSHK = past.keys_LBSHK[self.layer], past.values_LBSHK[self.layer]
            keys_BSHK[rows_B1, positions_BT] = k_BTHK.to(keys_BSHK.dtype)
            values_BSHK[rows_B1, positions_BT] = v_BTHK.to(values_BSHK.dtype)
            seen = int(positions_BT.max()) + 1
            k_BTHK, v_BTHK = keys_BSHK[:, :seen].to(q_BTHK.dtype), values_BSHK[:, :seen].to(q_BTHK.dtype)
            mask_B1TS = torch.arange(seen, device=x_BTD.device) <= positions_BT[:, None, :, None]

        out_BHTK = F.scaled_dot_product_attention(
            q_BTHK.transpose(1, 2),
            k_BTHK.transpose(1, 2),
            v_BTHK.transpose(1, 2),
            attn_mask=mask_B1TS,
            is_causal=past is None,
        )
        return self.out_proj(out_BHTK.transpose(1, 2).reshape(B, T, D))


class SwiGLU(nn.Module):
    """w3(silu(gate) * up), with gate and up from one fused projection (Shazeer 2020)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.w12 = nn.Linear(config.d_model, 2 * config.ffn_dim, bias=False)
        self.w3 = nn.Linear(config.ffn_dim, config.d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate_BTF, up_BTF = self.w12(x_BTD).chunk(2, dim=-1)
        return self.w3(F.silu(gate_BTF) * up_BTF)


class Block(nn.Module):
    """Attention, then SwiGLU, each on a normed copy of the residual stream."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = GainNorm(config.d_model)
        self.attention = Attention(config, layer)
        self.ffn_norm = GainNorm(config.d_model)
        self.feed_forward = SwiGLU(config)

    def forward(self, x_BTD: Tensor, past: KVCache | Forest | None) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), past)
        return x_BTD + self.feed_forward(self.ffn_norm(x_BTD))


class LossParts(NamedTuple):
    """A training loss and, without gradient, the two terms it is the sum of (nats per token, fp32 scalars)."""

    total: Tensor
    cross_entropy: Tensor
    z_loss: Tensor


class Transformer(nn.Module):
    """The decoder with its embedding and its head. On the meta device the weights have shapes and no values."""

    def __init__(self, config: TransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = GainNorm(config.d_model)
        self.output = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if not self.output.weight.is_meta:
            self.init_weights(seed)

    @property
    def num_parameters(self) -> int:
        """All trainable parameters, counted."""
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """OpenLM's start: normals cut at 3 sigma, sigma = 1/sqrt(fan in), over sqrt(2 (layer + 1)) into the residual.

        The same seed gives the same weights on every device: they are drawn on the CPU.
        """
        generator = torch.Generator().manual_seed(seed)

        def draw(weight: Tensor, sigma: float) -> None:
            limit = INIT_CLIP_SIGMAS * sigma
            values = torch.empty(weight.shape)
            weight.copy_(nn.init.trunc_normal_(values, std=sigma, a=-limit, b=limit, generator=generator))

        into_width, into_ffn = self.config.d_model**-0.5, self.config.ffn_dim**-0.5
        draw(self.tok_embeddings.weight, into_width)
        draw(self.output.weight, into_width)
        for depth, block in enumerate(self.layers, start=1):
            residual = (2 * depth) ** -0.5
            draw(block.attention.in_proj.weight, into_width)
            draw(block.attention.out_proj.weight, into_width * residual)
            draw(block.feed_forward.w12.weight, into_width)
            draw(block.feed_forward.w3.weight, into_ffn * residual)
        for module in self.modules():
            if isinstance(module, GainNorm):
                module.weight.fill_(1.0)

    def hidden(self, tokens_BT: Tensor, past: KVCache | Forest | None = None) -> Tensor:
        """States (B, T, D) after the last norm, ready for the head.

        With a cache, tokens continue each row at its own length; the caller then adds to `past.lengths_B` how many
        of them were real. With a forest the one row holds its trees. Raises ValueError beyond seq_len positions.
        """
        num_positions = int(past.positions_T.max()) + 1 if isinstance(past, Forest) else tokens_BT.shape[1]
        if num_positions > self.config.seq_len:
            raise ValueError(
                f"Transformer: {num_positions} positions given to a model of seq_len {self.config.seq_len}; "
                "cut the input"
            )
        x_BTD = self.tok_embeddings(tokens_BT)
        for block in self.layers:
            x_BTD = block(x_BTD, past)
        return self.norm(x_BTD)

    def forward(self, tokens_BT: Tensor, past: KVCache | Forest | None = None) -> Tensor:
        """Logits (B, T, V) in fp32 of the token that follows each position."""
        return self.output(self.hidden(tokens_BT, past)).float()

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor, z_loss_weight: float) -> LossParts:
        """Mean next-token cross-entropy plus z_loss_weight * mean(logsumexp^2), in fp32 (z-loss: PaLM, section 5)."""
        x_ND = self.hidden(tokens_BT).flatten(0, 1)
        total, cross_entropy = HeadLoss.apply(x_ND, self.output.weight, targets_BT.flatten(), z_loss_weight)
        return LossParts(total, cross_entropy, total.detach() - cross_entropy)


class HeadLoss(torch.autograd.Function):
    """Head, cross-entropy and z-loss together, a chunk of tokens at a time.

    The (N, V) logits and their gradient never exist as a whole, and forward leaves the gradients ready: on one CPU
    core, where the whole matrices spill the caches, forward and backward of nano take about a third of the time that
    they take with F.cross_entropy.
    """

    LOGITS_PER_CHUNK = {"cpu": 2**18, "cuda": 2**27}  # 1 MiB of fp32 stays in a core's L2; a GPU wants large products

    @staticmethod
    def forward(ctx, x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss_weight: float):
        num_tokens, (vocab_size, _) = len(x_ND), weight_VD.shape
        chunk = max(1, HeadLoss.LOGITS_PER_CHUNK[x_ND.device.type] // vocab_size)
        head_VD = weight_VD.to(x_ND.dtype)
        dx_ND, dweight_VD = torch.empty_like(x_ND), torch.zeros_like(weight_VD)
        cross_entropy = z_sum = torch.zeros((), device=x_ND.device)
        for start in range(0, num_tokens, chunk):
            x_CD, targets_C1 = x_ND[start : start + chunk], targets_N[start : start + chunk, None]
            logits_CV = (x_CD @ head_VD.T).float()
            target_logits_C1 = logits_CV.gather(1, targets_C1)
            largest_C1 = logits_CV.amax(1, keepdim=True)
            exp_CV = logits_CV.sub_(largest_C1).exp_()
            sum_C1 = exp_CV.sum(1, keepdim=True)
            log_sum_C1 = sum_C1.log() + largest_C1
            cross_entropy = cross_entropy + (log_sum_C1 - target_logits_C1).sum()
            z_sum = z_sum + log_sum_C1.square().sum()
            # d(lse - target + w lse^2) / dlogits = softmax * (1 + 2 w lse) - onehot(target)
            dlogits_CV = exp_CV.mul_((1 + 2 * z_loss_weight * log_sum_C1) / (sum_C1 * num_tokens))
            dlogits_CV.scatter_add_(1, targets_C1, torch.full_like(target_logits_C1, -1 / num_tokens))
            dlogits_CV = dlogits_CV.to(x_ND.dtype)
            torch.mm(dlogits_CV, head_VD, out=dx_ND[start : start + chunk])
            dweight_VD += dlogits_CV.T @ x_CD
        ctx.save_for_backward(dx_ND, dweight_VD)
        cross_entropy = cross_entropy / num_tokens
        ctx.mark_non_differentiable(cross_entropy)
        return cross_entropy + z_loss_weight * z_sum / num_tokens, cross_entropy

    @staticmethod
    def backward(ctx, dtotal: Tensor, _: Tensor):
        dx_ND, dweight_VD = ctx.saved_tensors
        return dtotal * dx_ND, dtotal * dweight_VD, None, None
