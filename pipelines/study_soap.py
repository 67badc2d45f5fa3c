"""How much data and time does SOAP save? Its losses on parts of the data against AdamW's and Shampoo's, rare refreshes, and its variants.

Learning rates and the runs on all of the data are those of study_optimizers, which come from the store where that study was run before. The plan
follows SOAP's paper (arXiv 2409.11321); what may be concluded is fixed in evaluation/studies/soap.py.
"""

from pipelines.study_data import study_data, variant
from pipelines.study_optimizers import NUM_TOKENS, matrix_runs
from stages.core.plan import Plan
from stages.judge_soap import judge_soap
from stages.render_study import render_study
from stages.train_arms import Arm, train_arms

COST = "about 8 minutes, and 5 more without the runs of study_optimizers"

FRACTIONS = (0.5, 0.625, 0.75, 0.875)
"""As in the paper; 1 comes from study_optimizers."""

CHANGED = {
    "soap/f=1": {"precondition_frequency": 1}, "soap/f=3": {"precondition_frequency": 3},
    "soap/f=30": {"precondition_frequency": 30}, "soap/f=100": {"precondition_frequency": 100},
    "shampoo/f=1": {"precondition_frequency": 1}, "shampoo/f=100": {"precondition_frequency": 100},
    "soap/one_sided": {"one_sided": True}, "soap/factorized": {"factorized": True},
}  # fmt: skip
"""group -> options, all at the learning rate that is best for the optimizer as it is."""


def plan(scale: str = "tiny") -> Plan:
    """Runs on parts of the data and of variants, on fresh seeds; verdicts; page. "smoke" is a few arms on a little text."""
    data, smoke = study_data(scale), scale == "smoke"
    sweep_matrix, confirm_matrix = matrix_runs(data)
    seeds = (1, 2) if smoke else (1, 2, 3)
    arms = [
        Arm(group=f"soap/data={fraction:g}", optimizer="soap", lr_from="soap", num_tokens=round(fraction * NUM_TOKENS[scale]), seed=seed)
        for fraction in FRACTIONS[:: 2 if smoke else 1]
        for seed in seeds
    ]
    arms += [
        Arm(group=group, optimizer=base, options=tuple(options.items()), lr_from=base, seed=seed)
        for group, options in list(CHANGED.items())[: 1 if smoke else None]
        for base in [group.partition("/")[0]]
        for seed in seeds
    ]
    confirm = train_arms.on(data.train, data.validation, data.tokenizer, sweep_matrix, scale=data.scale, arms=tuple(arms), name="confirm")
    runs = (sweep_matrix, confirm_matrix, confirm)
    verdicts = judge_soap.on(*runs, name="verdicts")
    page = render_study.on(verdicts, *runs, scale=scale, nodes=tuple(node.name for node in runs), name="page")
    return Plan("study_soap", [page], variant=variant(scale))
