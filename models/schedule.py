"""Learning rates as pure functions of the step: linear warm-up, then constant, cosine, or stable and decay (WSD).

    lr = learning_rate(recipe, step, num_steps)     # steps count from 0; nothing is remembered between them

Warm-up gives step s the share (s + 1) / warmup_steps, so that no step has rate 0, and no decay is ever at its end: the
last step stands one before it. Sources: OpenLM's scheduler for warm-up and cosine; Scaling Laws and Compute-Optimal
Training Beyond Fixed Training Durations (arXiv 2405.18392) for stable and linear decay.
"""

import difflib
import math

from models.scales import Recipe


def constant(recipe: Recipe, step: int, num_steps: int) -> float:
    """The peak rate at every step, for runs that averaged weights judge at several lengths."""
    return recipe.lr


def cosine(recipe: Recipe, step: int, num_steps: int) -> float:
    """Half a cosine from the peak, where the warm-up ends, down to cooldown_lr."""
    progress = (step - recipe.warmup_steps) / (num_steps - recipe.warmup_steps)
    return recipe.cooldown_lr + (recipe.lr - recipe.cooldown_lr) * 0.5 * (1 + math.cos(math.pi * progress))


def wsd(recipe: Recipe, step: int, num_steps: int) -> float:
    """The peak rate, but over the last `wsd_decay_fraction` of all steps a straight line down to cooldown_lr."""
    steps_left, num_decay = num_steps - step, decay_steps(recipe, num_steps)
    if steps_left >= num_decay:
        return recipe.lr
    return recipe.cooldown_lr + (recipe.lr - recipe.cooldown_lr) * steps_left / num_decay


SCHEDULES = {"constant": constant, "cosine": cosine, "wsd": wsd}
"""What follows the warm-up, by the name a recipe gives it."""


def learning_rate(recipe: Recipe, step: int, num_steps: int) -> float:
    """Rate of the update of `step`, of `num_steps`, before a parameter group's own `lr_scale`."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    return SCHEDULES[recipe.schedule](recipe, step, num_steps)


def decay_steps(recipe: Recipe, num_steps: int) -> int:
    """Steps at the end of a WSD run whose rate is below the peak, the first of them excepted."""
    return round(recipe.wsd_decay_fraction * num_steps)


def check_schedule(recipe: Recipe, num_steps: int) -> None:
    """Refuse an unknown schedule, and a warm-up that leaves no step for what follows it. Raises ValueError."""
    if recipe.schedule not in SCHEDULES:
        near = difflib.get_close_matches(recipe.schedule, SCHEDULES, n=1)
        meant = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"schedule: '{recipe.schedule}' is not one of {', '.join(SCHEDULES)}{meant}")
    if recipe.warmup_steps >= num_steps:
        raise ValueError(
            f"train: warmup_steps {recipe.warmup_steps} leave nothing of {num_steps} steps; lower warmup_steps or "
            f"raise num_tokens ({recipe.num_tokens:,})"
        )
    if recipe.schedule == "wsd":
        if not 0 <= recipe.wsd_decay_fraction <= 1:
            raise ValueError(f"schedule: wsd_decay_fraction is {recipe.wsd_decay_fraction}; give a share between 0 and 1")
        if recipe.warmup_steps + decay_steps(recipe, num_steps) > num_steps:
            raise ValueError(
                f"schedule: {recipe.warmup_steps} steps of warm-up and {decay_steps(recipe, num_steps)} of decay are more "
                f"than the run's {num_steps}; lower warmup_steps or wsd_decay_fraction ({recipe.wsd_decay_fraction})"
            )
