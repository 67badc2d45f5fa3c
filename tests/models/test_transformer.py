"""The decoder against published counts, a plain fp64 NumPy twin, and PyTorch's own losses."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.transformer import (
    HeadLoss,
    KVCache,
    Transformer,
    TransformerConfig,
    published_ffn_dim,
    rotary_tables,
    rotate,
)

TINY = TransformerConfig(vocab_size=53, d_model=24, num_layers=2, num_heads=3, ffn_dim=40, seq_len=16)


def tiny_model(seed: int = 0) -> Transformer:
    """A tiny model whose gains are not all one, so that a forgotten gain shows."""
    model = Transformer(TINY, seed=seed)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
    return model


def tokens(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(TINY.vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


def numpy_logits(model: Transformer, sequence: list[int]) -> np.ndarray:
    """The same decoder in fp64, a position and a head at a time, with rotary positions as complex rotations."""
    weights = {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}
    config = model.config
    width = config.d_model // config.num_heads

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return gain * (x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)

    def turn(head: np.ndarray, position: int) -> np.ndarray:
        half = width // 2
        angle = position * 10_000.0 ** (-2.0 * np.arange(half) / width)
        turned = (head[:half] + 1j * head[half:]) * np.exp(1j * angle)
        return np.concatenate((turned.real, turned.imag))

    stream = [weights["tok_embeddings.weight"][token] for token in sequence]
    for layer in range(config.num_layers):
        w = {name.removeprefix(f"layers.{layer}."): value for name, value in weights.items()}
        queries, keys, values = [], [], []
        for position, x in enumerate(stream):
            q, k, v = np.split(w["attention.in_proj.weight"] @ norm(x, w["attention_norm.weight"]), 3)
            q, k = norm(q, w["attention.q_norm.weight"]), norm(k, w["attention.k_norm.weight"])
            queries.append([turn(head, position) for head in np.split(q, config.num_heads)])
            keys.append([turn(head, position) for head in np.split(k, config.num_heads)])
            values.append(np.split(v, config.num_heads))
        for position, x in enumerate(stream):
            heads = []
            for h in range(config.num_heads):
                scores = np.array([queries[position][h] @ keys[s][h] for s in range(position + 1)]) / np.sqrt(width)
                shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                heads.append(sum(share * values[s][h] for s, share in enumerate(shares)))
            x = x + w["attention.out_proj.weight"] @ np.concatenate(heads)
            gate, up = np.split(w["feed_forward.w12.weight"] @ norm(x, w["ffn_norm.weight"]), 2)
            stream[position] = x + w["feed_forward.w3.weight"] @ (gate / (1 + np.exp(-gate)) * up)
    return np.stack([weights["output.weight"] @ norm(x, weights["norm.weight"]) for x in stream])


@pytest.mark.parametrize(
    ("layers", "d_model", "heads", "ffn_dim", "published"),
    [
        (24, 1024, 8, 2816, 411_616_256),
        (24, 2048, 16, 5632, 1_439_795_200),
        (32, 2560, 32, 6912, 2_795_932_160),
        (32, 4096, 32, 11_008, 6_889_410_560),
    ],
)
def test_parameter_counts_are_the_published_ones(layers, d_model, heads, ffn_dim, published):
    config = TransformerConfig(vocab_size=50_432, d_model=d_model, num_layers=layers, num_heads=heads, seq_len=2048)
    with torch.device("meta"):
        model = Transformer(config)
    qk_gains = sum(p.numel() for name, p in model.named_parameters() if "q_norm" in name or "k_norm" in name)
    assert config.ffn_dim == published_ffn_dim(d_model) == ffn_dim
    assert model.num_parameters - qk_gains == config.num_published_parameters == published
    assert model.num_parameters == config.num_parameters


def test_logits_equal_the_plain_twin():
    model = tiny_model()
    batch = tokens(2, 11)
    expected = np.stack([numpy_logits(model, row.tolist()) for row in batch])
    np.testing.assert_allclose(model(batch).detach().numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(model.double()(batch).detach().numpy(), expected, atol=1e-5)


def test_a_position_sees_nothing_after_it():
    model = tiny_model()
    first, second = tokens(1, 16), tokens(1, 16)
    second[0, 9:] = (second[0, 9:] + 1) % TINY.vocab_size
    difference = (model(first) - model(second)).abs().amax(-1)[0]
    assert difference[:9].max() == 0
    assert difference[9:].min() > 0


def test_rotary_keeps_lengths_and_depends_on_distance_alone():
    cos, sin = rotary_tables(64, 8, torch.device("cpu"))
    q, k = torch.randn(8, generator=torch.Generator().manual_seed(0)), torch.ones(8)
    dots = [rotate(q, cos[p], sin[p]) @ rotate(k, cos[p + 5], sin[p + 5]) for p in (0, 7, 50)]
    torch.testing.assert_close(torch.stack(dots), dots[0].expand(3))
    torch.testing.assert_close(rotate(q, cos[33], sin[33]).norm(), q.norm())
    assert torch.equal(rotate(q, cos[0], sin[0]), q)


@pytest.mark.parametrize("chunk_logits", [1, 53 * 7, 2**20])
def test_loss_and_gradients_equal_cross_entropy_plus_z_loss(monkeypatch, chunk_logits):
    monkeypatch.setattr(HeadLoss, "LOGITS_PER_CHUNK", {"cpu": chunk_logits})
    model = tiny_model().double()
    x, y = tokens(3, 8), tokens(3, 8, seed=1)
    parts = model.loss(x, y, z_loss_weight=0.1)
    (3 * parts.total).backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    logits = model.output(model.hidden(x)).flatten(0, 1)
    cross_entropy = F.cross_entropy(logits, y.flatten())
    z_loss = 0.1 * logits.logsumexp(-1).square().mean()
    (3 * (cross_entropy + z_loss)).backward()
    torch.testing.assert_close(parts.cross_entropy.double(), cross_entropy.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(parts.z_loss.double(), z_loss.detach(), rtol=1e-4, atol=0)
    for gradient, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def test_loss_without_gradients():
    model = tiny_model()
    with torch.no_grad():
        parts = model.loss(tokens(2, 8), tokens(2, 8, seed=1), 0.0)
    assert parts.z_loss == 0 and not parts.total.requires_grad


def test_cached_rows_of_different_length_equal_the_whole_input():
    model = tiny_model()
    batch, lengths = tokens(3, 12), torch.tensor([2, 7, 5])
    cache = KVCache(TINY, 3, 12, torch.device("cpu"))
    prompts = batch[:, :7].clone()
    prompts[torch.arange(7) >= lengths[:, None]] = 0
    with torch.no_grad():
        logits = [model(prompts, cache)[torch.arange(3), lengths - 1]]
        cache.lengths_B += lengths
        for _ in range(5):
            logits.append(model(batch[torch.arange(3), cache.lengths_B][:, None], cache)[:, 0])
            cache.lengths_B += 1
        whole = model(batch)
    for row, length in enumerate(lengths.tolist()):
        found = torch.stack([step[row] for step in logits])
        torch.testing.assert_close(found, whole[row, length - 1 : length + 5], atol=1e-5, rtol=1e-5)


def test_initial_weights_follow_openlm():
    config = TransformerConfig(vocab_size=4096, d_model=128, num_layers=3, num_heads=4, seq_len=8)
    model = Transformer(config, seed=0)
    cut_normal = 0.9866  # standard deviation of a unit normal cut at 3 sigma
    for layer, block in enumerate(model.layers):
        depth = (2 * (layer + 1)) ** -0.5
        for weight, sigma in (
            (block.attention.in_proj.weight, 128**-0.5),
            (block.attention.out_proj.weight, 128**-0.5 * depth),
            (block.feed_forward.w12.weight, 128**-0.5),
            (block.feed_forward.w3.weight, config.ffn_dim**-0.5 * depth),
        ):
            assert weight.std().item() == pytest.approx(cut_normal * sigma, rel=0.02)
            assert weight.abs().max().item() <= 3 * sigma * (1 + 1e-6)
    assert model.output.weight.std().item() == pytest.approx(cut_normal * 128**-0.5, rel=0.02)
    assert not any("bias" in name for name, _ in model.named_parameters())
    assert not torch.equal(model.output.weight, model.tok_embeddings.weight)


def test_the_seed_decides_the_weights():
    same, other = Transformer(TINY, seed=0), Transformer(TINY, seed=1)
    assert torch.equal(Transformer(TINY, seed=0).output.weight, same.output.weight)
    assert not torch.equal(other.output.weight, same.output.weight)


def test_bf16_autocast_stays_close_to_fp32():
    model = tiny_model()
    x, y = tokens(2, 8), tokens(2, 8, seed=1)
    exact = model.loss(x, y, 1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model.loss(x, y, 1e-4)
    rough.total.backward()
    assert rough.total.dtype == torch.float32
    assert rough.total.item() == pytest.approx(exact.total.item(), rel=0.02)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_unusable_shapes_are_refused():
    with pytest.raises(ValueError, match="num_heads"):
        TransformerConfig(vocab_size=8, d_model=10, num_layers=1, num_heads=3, seq_len=4)
    with pytest.raises(ValueError, match="num_layers is 0"):
        TransformerConfig(vocab_size=8, d_model=8, num_layers=0, num_heads=2, seq_len=4)
    with pytest.raises(ValueError, match="17 positions given to a model of seq_len 16"):
        tiny_model()(tokens(1, 17))
