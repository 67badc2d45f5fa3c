"""Judge a study of batch sizes: steps to target losses, the critical batch size B*, the noise scale beside it, and the theory simulated.

reads: runs of a sweep of learning rates, which fixes the target losses; runs of fresh seeds, which are judged
writes: one row for each claim, with its verdict; paragraph, figures and tables in the summary
cost: seconds.

What is measured: models/batch_size_study.py. The claims and their tests: evaluation/studies/batch_sizes.py. Both were fixed before the fresh
seeds ran. Sources: Zhang et al., arXiv 2410.21676; McCandlish et al., arXiv 1812.06162.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stages.core.config import config
from stages.core.stage import Inputs, Resources, stage

if TYPE_CHECKING:
    from evaluation.studies.claims import Claim
    from models.batch_size_study import Measurement, NoiseWindow

Figure = dict[str, Any]
Rows = list[dict[str, Any]]

COLUMNS = (
    "group", "batch_size", "seed", "lr", "step", "num_steps", "num_tokens", "ewa_decay", "val_loss", "diverged", "grad_sq", "part_grad_sq", "part_size",
)  # fmt: skip
MEMORY_BYTES = 128 << 20
"""Some thousand rows, and scipy; it does not grow with the text that the runs were trained on."""

OVERHEADS = (0.1, 0.2, 0.3, 0.5)
B_OPTS = (64.0, 128.0, 256.0, 512.0)
"""Conventions under which the published table is fitted again: the paper's are 0.2 and 256."""


@config
class JudgeBatchSizes:
    fractions: tuple[float, ...] = (0.5, 0.7, 0.85)
    """Targets are the losses of the slowest batch size of the sweep at these shares of its steps."""
    overhead: float = 0.2
    """B* costs so many more tokens than a linear batch."""
    misfit_margin: float = 0.1
    """Steps follow a + b / B if no batch size misses it by more, in the logarithm: the published table misses its own fit by up to 9 %."""
    same_order: float = 3.0
    """Noise scales agree in their order of magnitude if neither is more than so many times the other."""
    theory_margin: float = 0.02
    """A simulated exponent agrees with the theory within this."""

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < share < 1 for share in self.fractions):
            raise ValueError(f"judge_batch_sizes: fractions are {self.fractions}; give shares of the steps between 0 and 1")


def _claim_columns(config: Any) -> Mapping[str, pa.DataType]:
    from evaluation.studies.claims import COLUMNS

    return COLUMNS


@stage(version=1, kind="reduce", takes=("table", "table"), needs=set(COLUMNS), adds=_claim_columns, uses=("scipy",), memory_bytes=lambda config: MEMORY_BYTES)
def judge_batch_sizes(config: JudgeBatchSizes, inputs: Inputs, resources: Resources) -> Iterator[tuple[str, pa.Table]]:
    """Judge every claim. ValueError where no run of the sweep was evaluated."""
    from evaluation.studies import batch_sizes as batch_size_claims
    from evaluation.studies.claims import STATISTICS, analysis_times, claims_table
    from models import batch_size_study

    swept, judged = inputs.of("table")
    sweep, rows = _rows(swept), _rows(judged)
    found = [batch_size_study.measure(rows, target, config.overhead) for target in batch_size_study.choose_targets(sweep, config.fractions)]
    windows, exponents, published = batch_size_study.noise_windows(rows), _simulate(), _published_laws()
    claims = _judge(config, found, windows, exponents, published)
    yield "claims", claims_table(claims)
    return {
        "study": "critical_batch_size",
        "title": "The critical batch size of a small language model",
        "paragraph": _paragraph(config, sweep, rows, found, claims),
        "figures": [_figure_steps(found), _figure_noise(windows, found), _figure_theory(exponents), _figure_published(published)],
        "tables": [
            {"title": "Fits of a + b / B to the steps", "rows": [_fit_row(one, config.overhead, windows) for one in found]},
            {"title": "Steps to each target, mean over seeds", "rows": _steps_rows(rows, found)},
            {"title": "B* at the hardest target under other conventions", "rows": _sensitivity_rows(found[-1])},
            {"title": "The published exponent of B* in parameters under other conventions", "rows": published},
            {"title": "Exponents of averaged SGD on least squares", "rows": [{k: v for k, v in one.items() if k != "b_star"} for one in exponents]},
        ],
        "analysis": analysis_times([__file__, batch_size_study.__file__, batch_size_claims.__file__, *STATISTICS], judged.summary or {}),
    }


def _rows(dataset: Any) -> Rows:
    return [row for shard in dataset.shards for row in dataset.table(shard.name, list(COLUMNS)).to_pylist()]


def _judge(config: JudgeBatchSizes, found: "list[Measurement]", windows: "list[NoiseWindow]", exponents: Rows, published: Rows) -> "list[Claim]":
    """All claims, each from numbers by seed."""
    from evaluation.studies import batch_sizes as judge
    from models.batch_size_study import noise_growth, noise_until

    fitted, measured = [one for one in found if one.seed_fits], [one for one in found if one.b_star is not None]
    growth, ratios, grown, noise = {}, {}, "fewer than two targets could be fitted", "no target could be fitted"
    if fitted:
        first, last = fitted[0], fitted[-1]
        scales = noise_until(windows, last.crossings)
        ratios = {seed: scale / last.seed_fits[seed].b_noise for seed, scale in scales.items()}
        noise = f"until loss {last.target:.3f} the noise scale is {_words(judge.log_interval(scales).mean)} sequences and b/a {last.fit.b_noise:.1f}"
        if len(fitted) > 1:
            growth = {seed: last.seed_fits[seed].b_noise / one.b_noise for seed, one in first.seed_fits.items()}
            grown = f"from loss {first.target:.3f} to {last.target:.3f} b/a goes from {first.fit.b_noise:.1f} to {last.fit.b_noise:.1f} sequences"
    words = [f"loss {one.target:.3f}: B* = {one.b_star:.1f} sequences with b_opt = {one.b_opt:g} and b/a = {one.fit.b_noise:.1f}" for one in measured]
    words += [f"loss {one.target:.3f}: {one.refused}" for one in found if one.refused]
    hardest = found[-1]
    return [
        judge.claim_law({one.target: one.misfits for one in found if one.fit}, [one.refused for one in found if not one.fit], config.misfit_margin),
        judge.claim_critical(hardest.b_star, hardest.seed_b_star(config.overhead), words, hardest.refused, config.overhead),
        judge.claim_growth(growth, grown),
        judge.claim_noise_order(ratios, noise, config.same_order),
        judge.claim_noise_growth(noise_growth(windows)),
        judge.claim_published(published[0]["coefficient"], published[0]["exponent"], [law["exponent"] for law in published]),
        judge.claim_theory({(one["a"], one["b"]): (one["measured"], one["theory"]) for one in exponents}, config.theory_margin),
        *judge.not_tested(),
    ]


def _words(number: float | None) -> str:
    return "unknown" if number is None else f"{number:.1f}"


def _simulate() -> Rows:
    """The exponents of the theory, with the critical batch sizes they were measured on."""
    from models.critical_batch_size import power_law
    from models.least_squares_sgd import DATA_SIZES, THEORY_PAIRS, Problem, critical_batch, theory

    found = []
    for a, b in THEORY_PAIRS:
        b_star = [critical_batch(Problem(a, b), size) for size in DATA_SIZES]
        law = power_law(DATA_SIZES, b_star)
        found.append({"a": a, "b": b, "measured": law.exponent, "theory": theory(a, b), "b_star": dict(zip(DATA_SIZES, b_star, strict=True))})
    return found


def _published_laws() -> Rows:
    """B* = coefficient * N^exponent of the published table, under the paper's conventions and then under others."""
    from models.critical_batch_size import PUBLISHED_BATCH_SIZES, PUBLISHED_STEPS, cbs, fit, power_law

    fits = [fit(PUBLISHED_BATCH_SIZES, steps) for steps in PUBLISHED_STEPS.values()]
    others = [(overhead, 256.0) for overhead in OVERHEADS if overhead != 0.2] + [(0.2, b_opt) for b_opt in B_OPTS if b_opt != 256]
    rows = []
    for overhead, b_opt in [(0.2, 256.0), *others]:
        law = power_law(list(PUBLISHED_STEPS), [cbs(one, overhead, b_opt) for one in fits])
        rows.append({"overhead": overhead, "b_opt": b_opt, "coefficient": law.coefficient, "exponent": law.exponent})
    return rows


def _fit_row(one: "Measurement", overhead: float, windows: "list[NoiseWindow]") -> dict[str, Any]:
    from evaluation.studies.batch_sizes import log_interval
    from models.batch_size_study import noise_until

    fit, within = one.fit, log_interval(one.seed_b_star(overhead))
    noise = log_interval(noise_until(windows, one.crossings)).mean if fit else None
    return {
        "target loss": one.target, "a, steps": fit and fit.a, "b, sequences": fit and fit.b, "b/a, sequences": fit and fit.b_noise, "noise scale, sequences": noise,
        "b_opt": one.b_opt, "B*, sequences": one.b_star, "low": within.low, "high": within.high, "seeds": len(one.seed_fits) or None, "refused": one.refused,
    }  # fmt: skip


def _steps_rows(rows: Rows, found: "list[Measurement]") -> Rows:
    from models.critical_batch_size import mean_steps

    table = []
    for size in sorted({row["batch_size"] for row in rows}):
        of_size = [row for row in rows if row["batch_size"] == size]
        line = {"batch size": size, "lr": ", ".join(f"{lr:.3g}" for lr in sorted({row["lr"] for row in of_size})), "seeds": len({row["seed"] for row in of_size})}
        for one in found:
            mine = [crossing for crossing in one.crossings if crossing.batch_size == size]
            censored = sum(bool(crossing.censored) for crossing in mine)
            steps = mean_steps([size] * len(mine), [crossing.steps for crossing in mine])[size]
            line[f"to loss {one.target:.3f}"] = f"{censored} of {len(mine)} censored" if censored else round(steps, 1)
        table.append(line)
    return table


def _sensitivity_rows(one: "Measurement") -> Rows:
    """A row for every overhead, a column for each of the four smallest batch sizes as b_opt."""
    from models.critical_batch_size import sensitivity

    cells = sensitivity(one.fit, OVERHEADS, one.fit.batch_sizes[:4]) if one.fit else []
    return [
        {"overhead": overhead} | {f"b_opt = {cell['b_opt']:g}": cell["b_star"] or "refused" for cell in cells if cell["overhead"] == overhead}
        for overhead in OVERHEADS
        if cells
    ]


def _paragraph(config: JudgeBatchSizes, sweep: Rows, rows: Rows, found: "list[Measurement]", claims: "list[Claim]") -> str:
    from evaluation.studies.batch_sizes import log_interval
    from evaluation.studies.claims import counted

    runs = {(row["group"], row["lr"], row["seed"]): row["diverged"] for row in [*sweep, *rows]}
    sizes, last, constant = sorted({row["batch_size"] for row in rows}), found[-1], 1 + config.overhead
    told = [
        f"{len(runs)} runs at {len(sizes)} batch sizes from {sizes[0]} to {sizes[-1]} sequences, each at a constant learning rate tuned for its batch size; {sum(runs.values())} diverged.",
        f"Their steps to {len(found)} target losses, fixed by a sweep on another seed, were fitted by a + b / B.",
    ]
    if last.b_star is None:
        told.append(f"At the hardest, loss {last.target:.3f}, no critical batch size can be given: {last.refused}.")
    else:
        within = log_interval(last.seed_b_star(config.overhead))
        seeds = f", seed by seed {within.low:.1f} to {within.high:.1f}" if within.low is not None else ""
        told.append(
            f"At the hardest, loss {last.target:.3f}, the critical batch size is {last.b_star:.1f} sequences{seeds}. Of these {constant * last.b_opt:.1f} are the convention "
            f"{constant:g} b_opt with b_opt = {last.b_opt:g}; b/a, which was measured, is {last.fit.b_noise:.1f}."
        )
    told.append(f"Of {len(claims)} claims: {counted(claims)}. The exponents in data and parameters and the effect of width are beyond a study of this size.")
    return " ".join(told)


def _figure_steps(found: "list[Measurement]") -> Figure:
    series, lines = [], []
    for one in found:
        name, seen = f"loss {one.target:.3f}", [c for c in one.crossings if not c.censored]
        series.append({"name": name, "x": [c.batch_size for c in seen], "y": [c.steps for c in seen], "marks": "dots"})
        if one.fit:
            low, high = one.fit.batch_sizes[0], one.fit.batch_sizes[-1]
            grid = [low * (high / low) ** (i / 40) for i in range(41)]
            series.append({"name": name, "x": grid, "y": [one.fit.steps(size) for size in grid], "marks": "line"})
        if one.b_star is not None:
            lines.append({"x": one.b_star, "label": f"B* {one.b_star:.0f} at {one.target:.2f}"})
    linear = next((one for one in reversed(found) if one.fit), None)
    if linear:
        low, high = linear.fit.batch_sizes[0], linear.fit.batch_sizes[-1]
        series.append({"name": "proportional", "x": [low, high], "y": [linear.fit.steps(low), linear.fit.steps(low) * low / high], "marks": "line", "dashed": True})
    return {
        "title": "Steps to a target loss against batch size", "caption": "Every seed a dot; lines are a + b / B, fitted over all seeds.",
        "x": {"label": "batch size, sequences", "log": True}, "y": {"label": "steps", "log": True}, "series": series, "lines": lines,
    }  # fmt: skip


def _figure_noise(windows: "list[NoiseWindow]", found: "list[Measurement]") -> Figure:
    from models.batch_size_study import noise_scale

    series = []
    for size in sorted({window.batch_size for window in windows}):
        mine = [w for w in windows if w.batch_size == size]
        seen = [w for w in mine if w.gradient.noise_scale > 0]
        series.append({"name": f"B = {size}", "x": [w.num_tokens for w in seen], "y": [w.gradient.noise_scale for w in seen], "marks": "dots"})
        means = {tokens: noise_scale([w for w in mine if w.num_tokens == tokens]) for tokens in sorted({w.num_tokens for w in mine})}
        means = {tokens: scale for tokens, scale in means.items() if scale > 0}
        series.append({"name": f"B = {size}", "x": [*means], "y": [*means.values()], "marks": "line"})
    return {
        "title": "The gradient noise scale over training",
        "caption": "tr(Sigma) / |G|^2 between evaluations; every seed a dot, lines take all seeds together. Compare with b/a, not with B*, which holds the constant.",
        "x": {"label": "tokens", "log": True}, "y": {"label": "noise scale, sequences", "log": True}, "series": series,
        "lines": [{"y": one.fit.b_noise, "label": f"b/a at {one.target:.2f}"} for one in found if one.fit],
    }  # fmt: skip


def _figure_theory(exponents: Rows) -> Figure:
    series = []
    for one in exponents:
        name, sizes, found = f"a = {one['a']:g}, b = {one['b']:g}", [*one["b_star"]], [*one["b_star"].values()]
        series.append({"name": name, "x": sizes, "y": found, "marks": "dots"})
        series.append({"name": name, "x": sizes, "y": [found[0] * (size / sizes[0]) ** one["theory"] for size in sizes], "marks": "line", "dashed": True})
    return {
        "title": "Least squares: the critical batch size against the data", "caption": "Dots are simulated, lines have the slope of the theory.",
        "x": {"label": "samples D", "log": True}, "y": {"label": "critical batch size", "log": True}, "series": series, "lines": [],
    }  # fmt: skip


def _figure_published(laws: Rows) -> Figure:
    from models.critical_batch_size import PUBLISHED_BATCH_SIZES, PUBLISHED_STEPS, cbs, fit

    sizes, series = list(PUBLISHED_STEPS), []
    fits = [fit(PUBLISHED_BATCH_SIZES, steps) for steps in PUBLISHED_STEPS.values()]
    for law in sorted((law for law in laws if law["b_opt"] == 256), key=lambda law: law["overhead"]):
        name = f"overhead {law['overhead']:.0%}"
        series.append({"name": name, "x": sizes, "y": [cbs(one, law["overhead"]) for one in fits], "marks": "dots"})
        series.append({"name": name, "x": sizes, "y": [law["coefficient"] * n ** law["exponent"] for n in sizes], "marks": "line"})
    return {
        "title": "The published steps, fitted again", "caption": "B* of the published table under four overheads, b_opt = 256: the slope hangs on the convention.",
        "x": {"label": "parameters, millions", "log": True}, "y": {"label": "B*, sequences of 512 tokens", "log": True}, "series": series, "lines": [],
    }  # fmt: skip
