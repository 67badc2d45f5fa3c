"""The sizes at which optimizers are studied: a model, its budget, and the recipe that all arms of a study share.

    recipe = STUDY_SCALES["tiny"].recipe(lr=3e-3, optimizer="soap", ewa_decays=(0.99,))

`small` and `medium` are the 2.4M and 9.4M proxies of How Does Critical Batch Size Scale in Pre-training? (arXiv
2410.21676), counted as there without embeddings. `tiny` is the largest that two CPU cores train some hundred
times in an hour, and `smoke` a few seconds of it, to see that a study runs.
"""

from dataclasses import dataclass, replace

from models.scales import Recipe
from models.transformer import TransformerConfig

TINY_MODEL = TransformerConfig(vocab_size=512, d_model=96, num_layers=2, num_heads=3, ffn_dim=256, seq_len=64)
# SwiGLU of 8/3 d_model, rounded to a multiple of 8: 12 d_model^2 parameters a layer, as the proxies' MLP of 4 d_model has
SMALL_MODEL = TransformerConfig(vocab_size=4096, d_model=256, num_layers=3, num_heads=4, ffn_dim=680, seq_len=256)
MEDIUM_MODEL = TransformerConfig(vocab_size=4096, d_model=512, num_layers=3, num_heads=8, ffn_dim=1368, seq_len=256)


@dataclass(frozen=True, kw_only=True)
class StudyScale:
    """A model and the recipe around whatever a study varies.

    Source: Deconstructing What Makes a Good Optimizer for Language Models (arXiv 2407.07972) and its code: a tenth of
    the steps for warm-up, a cosine down to a tenth of the peak, clipping at 1, z-loss 1e-4, AdamW's eps, no decay.
    """

    name: str
    """What `winnow study --scale` calls it."""
    model: TransformerConfig
    """The decoder's shape."""
    num_tokens: int
    """Target tokens of a run that says no other number."""
    batch_size: int = 32
    """Sequences in a step of a run that says no other number."""
    warmup_fraction: float = 0.1
    """Share of all steps over which the rate rises."""
    cooldown_fraction: float = 0.1
    """Share of the peak rate that a cosine or WSD schedule ends on."""
    grad_clip: float = 1.0
    """Largest norm of the whole gradient."""
    z_loss_weight: float = 1e-4
    """Coefficient of mean(logsumexp^2)."""
    weight_decay: float = 0.0
    """Decoupled decay of every parameter."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay of the first and second moment."""
    eps: float = 1e-15
    """AdamW's floor under the square root of the second moment."""

    def recipe(
        self,
        *,
        lr: float,
        num_tokens: int | None = None,
        batch_size: int | None = None,
        warmup_fraction: float | None = None,
        **fields,
    ) -> Recipe:
        """The recipe of one run: this scale's, but for what is given; `fields` are fields of Recipe.

        The warm-up is at least a step. Raises ValueError where num_tokens is no whole number of sequences.
        """
        base = Recipe(
            num_tokens=self.num_tokens if num_tokens is None else num_tokens,
            batch_size=self.batch_size if batch_size is None else batch_size,
            lr=lr,
            cooldown_lr=self.cooldown_fraction * lr,
            warmup_steps=0,
            weight_decay=self.weight_decay,
            z_loss_weight=self.z_loss_weight,
            betas=self.betas,
            eps=self.eps,
            grad_clip=self.grad_clip,
        )
        share = self.warmup_fraction if warmup_fraction is None else warmup_fraction
        warmup_steps = max(1, round(share * base.num_steps(self.model.seq_len)))
        return replace(base, **{"warmup_steps": warmup_steps, **fields})


STUDY_SCALES: dict[str, StudyScale] = {
    scale.name: scale
    for scale in (
        StudyScale(name="smoke", model=TINY_MODEL, num_tokens=16 * 32 * 64),
        StudyScale(name="tiny", model=TINY_MODEL, num_tokens=320 * 32 * 64),
        # 20 tokens for each parameter that is not an embedding, in whole batches
        StudyScale(name="small", model=SMALL_MODEL, num_tokens=1440 * 128 * 256, batch_size=128),
        StudyScale(name="medium", model=MEDIUM_MODEL, num_tokens=5760 * 128 * 256, batch_size=128),
    )
}
"""Every scale of a study by its name, smallest first."""
