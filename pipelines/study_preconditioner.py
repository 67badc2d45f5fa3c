"""How good are Shampoo's Kronecker products? Cosines with the Gauss-Newton matrix and Adagrad's, over the training of three small networks.

The matrices are never formed, and the networks are the same at every scale: scales differ in seeds and in gradients (Morwani et al., arXiv 2406.17748).
"""

from pipelines.study_data import study_data, variant
from stages.core.plan import Plan
from stages.judge_preconditioner import judge_preconditioner
from stages.measure_preconditioner import measure_preconditioner
from stages.render_study import render_study

COST = "about 5 minutes"

SIZES = {
    "smoke": {"seeds": (1, 2), "checkpoints": (0, 8, 32), "num_outer_products": 256, "num_samples": 64, "batch_sizes": (1, 16)},
    "tiny": {
        "seeds": (6, 7, 8, 9, 10),
        "checkpoints": (0, 32, 128, 512),
        "num_outer_products": 4096,
        "num_samples": 512,
        "batch_sizes": (1, 8, 64),
    },
}
"""Those of tiny serve larger scales, too."""


def plan(scale: str = "tiny") -> Plan:
    """The measurements, the verdicts and their page."""
    data = study_data(scale)
    measured = measure_preconditioner.on(data.train, data.tokenizer, name="measure", **SIZES.get(scale, SIZES["tiny"]))
    verdicts = judge_preconditioner.on(measured, name="verdicts")
    page = render_study.on(verdicts, measured, scale=scale, nodes=("measure", "verdicts"), name="page")
    return Plan("study_preconditioner", [page], variant=variant(scale))
