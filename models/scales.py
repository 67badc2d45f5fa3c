"""The scales of the leaderboard: which model each one trains, on how many tokens, and how.

The five published scales are DCLM's (OpenLM recipes `411m_1x`, `1b_1x_fast`, `3b_1x_fast_3e-3_lr_1e-4_zloss`,
`7b_1x_fast_2e-3_lr_5e-6_zloss`, and the last with twice the tokens). `nano` is ours: the same architecture and the same
optimiser, small enough that one CPU core trains it in under half a minute.

    SCALES["400m-1x"].plan()   # {"scale": "400m-1x", "params": 411616256, "tokens": 8232325120, "steps": 7851, ...}
"""

from dataclasses import dataclass

from models.transformer import TransformerConfig

GPT_NEOX_VOCAB_SIZE = 50_432  # GPT-NeoX-20b's 50,277 entries, padded by OpenLM
TOKENS_PER_PARAMETER = 20  # Chinchilla's ratio, which DCLM's token budgets multiply exactly
FLOPS_PER_PARAMETER_AND_TOKEN = 6  # 2 forward, 4 backward (Kaplan et al. 2020, section 2.1)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained; defaults are what all published DCLM scales share."""

    num_tokens: int
    """Target tokens trained on: exactly these, whatever the number of sequences; a multiple of seq_len."""
    batch_size: int
    """Sequences in one optimiser step."""
    lr: float
    """Peak learning rate."""
    cooldown_lr: float
    """Learning rate that a cosine or WSD schedule ends on."""
    warmup_steps: int
    """Steps of linear warm-up: step s has lr * (s + 1) / warmup_steps."""
    weight_decay: float
    """Decoupled decay of every parameter, norms and embeddings included, scaled by the learning rate."""
    z_loss_weight: float
    """Coefficient of mean(logsumexp^2)."""
    accumulation_steps: int = 1
    """Parts in which a batch goes through the model; the step sees their mean."""
    multiplier: int = 1
    """Times the 1x budget: 2 for 7b-2x."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay of the first and second moment; other optimizers take theirs from `options`."""
    eps: float = 1e-8
    """AdamW's floor under the square root of the second moment; other optimizers take theirs from `options`."""
    grad_clip: float = 1.0
    """Largest norm of the whole gradient."""
    num_checkpoints: int = 5
    """Times that training saves what it needs to go on, spread evenly; the last is the end."""
    optimizer: str = "adamw"
    """A name that `models.optim.choose.make_optimizer` knows."""
    options: tuple[tuple[str, object], ...] = ()
    """Keyword arguments of the optimizer beside lr and weight_decay, as pairs of name and JSON value."""
    schedule: str = "cosine"
    """What follows the warm-up: "constant", "cosine" or "wsd"."""
    wsd_decay_fraction: float = 0.2
    """Share of all steps, at the end, over which WSD lowers the rate."""
    ewa_decays: tuple[float, ...] = ()
    """Decays of the averages of the weights that are kept beside them, one update a step."""
    measure_noise: bool = False
    """Record the squared gradient norm of the accumulation's parts, which the gradient noise scale is read from."""

    def num_sequences(self, seq_len: int) -> int:
        """Sequences that hold num_tokens. Raises ValueError where they do not divide."""
        if self.num_tokens < seq_len or self.num_tokens % seq_len:
            raise ValueError(
                f"Recipe: num_tokens {self.num_tokens:,} is not a positive multiple of seq_len {seq_len}; the nearest "
                f"is {max(1, round(self.num_tokens / seq_len)) * seq_len:,}"
            )
        return self.num_tokens // seq_len

    def num_steps(self, seq_len: int) -> int:
        """Optimiser steps: the 1x budget over the tokens of a batch, rounded, times the multiplier.

        Batches then differ from batch_size by the rounding, spread evenly, so that none is a remnant.
        """
        tokens_1x = self.num_sequences(seq_len) * seq_len / self.multiplier
        return self.multiplier * max(1, round(tokens_1x / (self.batch_size * seq_len)))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A named row of the table: a model and its recipe."""

    name: str
    """What users and the leaderboard call it."""
    model: TransformerConfig
    """The decoder's shape."""
    recipe: Recipe
    """How it is trained."""

    @property
    def num_steps(self) -> int:
        """Optimiser steps of a whole run."""
        return self.recipe.num_steps(self.model.seq_len)

    @property
    def flops(self) -> int:
        """Training cost by 6 * parameters * tokens, the estimate that DCLM publishes; attention is left out."""
        return FLOPS_PER_PARAMETER_AND_TOKEN * self.model.num_published_parameters * self.recipe.num_tokens

    def plan(self) -> dict[str, str | int]:
        """What a run would cost, as `train --dry-run --json` prints it; parameters counted as DCLM publishes them."""
        return {
            "scale": self.name,
            "params": self.model.num_published_parameters,
            "tokens": self.recipe.num_tokens,
            "steps": self.num_steps,
            "flops": self.flops,
        }


def published_model(d_model: int, num_layers: int, num_heads: int) -> TransformerConfig:
    """A DCLM decoder: GPT-NeoX vocabulary, 2,048 positions, SwiGLU width by the published rule."""
    return TransformerConfig(
        vocab_size=GPT_NEOX_VOCAB_SIZE, d_model=d_model, num_layers=num_layers, num_heads=num_heads, seq_len=2048
    )


def published_recipe(model: TransformerConfig, *, multiplier: int = 1, **settings) -> Recipe:
    """A DCLM recipe: 20 tokens a published parameter, times the multiplier."""
    num_tokens = multiplier * TOKENS_PER_PARAMETER * model.num_published_parameters
    return Recipe(num_tokens=num_tokens, multiplier=multiplier, cooldown_lr=3e-5, **settings)


MODEL_400M = published_model(d_model=1024, num_layers=24, num_heads=8)
MODEL_1B = published_model(d_model=2048, num_layers=24, num_heads=16)
MODEL_3B = published_model(d_model=2560, num_layers=32, num_heads=32)
MODEL_7B = published_model(d_model=4096, num_layers=32, num_heads=32)

SETTINGS_400M = dict(
    batch_size=512, accumulation_steps=8, lr=3e-3, weight_decay=0.033, warmup_steps=2000, z_loss_weight=1e-4
)
SETTINGS_1B_3B = dict(batch_size=256, lr=3e-3, weight_decay=0.033, warmup_steps=5000, z_loss_weight=1e-4)
SETTINGS_7B = dict(
    batch_size=2048, accumulation_steps=2, lr=2e-3, weight_decay=0.05, warmup_steps=5000, z_loss_weight=5e-6
)

# Chosen by bits per byte at equal estimated time on one core, one seed a shape: in a budget of seconds, more text
# through a large vocabulary beats depth and width. At this vocabulary a second layer (ffn_dim 128) costs 0.04 bits per
# byte and d_model 64 costs 0.12; runs of one shape with two seeds differ by 0.01.
NANO = Scale(
    name="nano",
    model=TransformerConfig(vocab_size=4096, d_model=48, num_layers=1, num_heads=1, ffn_dim=256, seq_len=128),
    recipe=Recipe(
        num_tokens=448 * 8 * 128,
        batch_size=8,
        lr=1e-2,
        cooldown_lr=1e-4,
        warmup_steps=45,
        weight_decay=0.033,
        z_loss_weight=1e-4,
    ),
)

SCALES: dict[str, Scale] = {
    scale.name: scale
    for scale in (
        NANO,
        Scale(name="400m-1x", model=MODEL_400M, recipe=published_recipe(MODEL_400M, **SETTINGS_400M)),
        Scale(name="1b-1x", model=MODEL_1B, recipe=published_recipe(MODEL_1B, **SETTINGS_1B_3B)),
        Scale(name="3b-1x", model=MODEL_3B, recipe=published_recipe(MODEL_3B, **SETTINGS_1B_3B)),
        Scale(name="7b-1x", model=MODEL_7B, recipe=published_recipe(MODEL_7B, **SETTINGS_7B)),
        Scale(name="7b-2x", model=MODEL_7B, recipe=published_recipe(MODEL_7B, multiplier=2, **SETTINGS_7B)),
    )
}
"""Every scale by its name, smallest first."""
