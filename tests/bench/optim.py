"""SOAP beside the released rule written plainly, two other implementations of it, and torch's AdamW.

The matrices are those of 2 transformer blocks of d512 and 4 of d256 (queries, keys and values in one, MLP of 4 d) and their norms, with
random gradients: 20 steps, two of which refresh the bases, of one core, medians of three such rounds in turns. The first step, an
eigendecomposition, is not in them. `equal`: after 31 steps on square matrices, where the rule determines every number, the parameters are
where the peer's are. Eight minutes on a quiet machine, most of them the peers'. On a GPU two more cases: 24 blocks of d1024, by wall clock.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))  # `winnow bench` loads this file by its path

import torch  # noqa: E402
from curation_cases.measure import Seconds, in_turns, not_measured, one_core, row  # noqa: E402
from peers_soap import PEERS, SETTINGS, Released, need_peers  # noqa: E402

from models.optim import SOAP, basis  # noqa: E402

STEPS, FREQUENCY, ROUNDS = 20, SETTINGS["precondition_frequency"], 3
WHOLE, BETWEEN, OVERHEAD, GPU_WHOLE = 1.3, 0.9, 0.05, 5.0
ANOTHER_RULE = {"equal": None, "note": "another rule, so nothing to compare: what SOAP costs"}
ADAMW, RELEASED = "torch's AdamW", "released rule, written plainly"
BLOCKS, QUICK_BLOCKS, GPU_BLOCKS = ((512, 2), (256, 4)), ((32, 2), (16, 4)), ((1024, 24),)
BATCH_TOKENS, MICROBATCH, SEQ_LEN = 2**21, 8, 1024
Make = Callable[[list[torch.Tensor]], torch.optim.Optimizer]


def run(quick: bool = False) -> dict[str, Any]:
    """Measure every case; quick takes blocks of d32 and d16 and single rounds: seconds, and no figures to quote."""
    need_peers()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with one_core():
            rows = [*step_rows(quick), refresh_row(quick)]
    finally:
        torch.set_num_threads(threads)
    return {"name": "optim", "blocks": [list(each) for each in (QUICK_BLOCKS if quick else BLOCKS)], "rows": rows + gpu_rows(quick)}


def ours(params: list[torch.Tensor], **options: Any) -> SOAP:
    return SOAP(params, **SETTINGS, **options)


def step_rows(quick: bool) -> list[dict[str, Any]]:
    """20 steps beside each peer, and the median step between refreshes beside the released rule's."""
    blocks = QUICK_BLOCKS if quick else BLOCKS
    makers: dict[str, Make] = {"ours": ours, ADAMW: lambda params: torch.optim.AdamW(params, fused=True), **{name: make for name, (make, _) in PEERS.items()}}
    runs = {name: Run(make, blocks) for name, make in makers.items()}
    for _ in range(1 if quick else ROUNDS):
        for each in runs.values():
            each.round()
    mine = runs["ours"]
    rows = []
    for name, peer in runs.items():
        if name == "ours":
            continue
        ratio, target = peer.whole.cpu / mine.whole.cpu, WHOLE if name == RELEASED else None
        rows.append(row(
            "step/whole", f"{STEPS} steps, {STEPS // FREQUENCY} refreshes", mine.whole.cpu, "s", peer=name, peer_value=peer.whole.cpu, ratio=ratio,
            target=target, met=None if target is None else ratio >= target, equal=name != ADAMW and is_equal(ours, *PEERS[name]),
            wall_value=round(mine.whole.wall, 4), wall_peer_value=round(peer.whole.wall, 4),
        ) | (ANOTHER_RULE if name == ADAMW else {}))  # fmt: skip
    peer, flops, peer_flops = runs[RELEASED], num_flops(blocks), num_flops(blocks, released=True)
    ratio, flop_ratio = peer.between.cpu / mine.between.cpu, peer_flops / flops
    rows.append(row(
        "step/between_refreshes", "share of the FLOP ratio", ratio / flop_ratio, "x", peer=RELEASED, peer_value=1.0, ratio=ratio,
        target=BETWEEN, met=ratio >= BETWEEN * flop_ratio, equal=rows[1]["equal"], flop_ratio=round(flop_ratio, 3),
        seconds=round(mine.between.cpu, 4), peer_seconds=round(peer.between.cpu, 4),
        gflops_per_second=round(flops / mine.between.cpu / 1e9, 1), peer_gflops_per_second=round(peer_flops / peer.between.cpu / 1e9, 1),
        note=f"{ratio:.2f} times as fast with {flop_ratio:.2f} times fewer floating-point operations",
    ))  # fmt: skip
    return rows


def shapes(blocks: tuple[tuple[int, int], ...]) -> list[tuple[int, ...]]:
    """Parameters of so many blocks of each width."""
    return [shape for d, count in blocks for _ in range(count) for shape in ((3 * d, d), (d, d), (4 * d, d), (d, 4 * d), (d,), (d,))]


def num_flops(blocks: tuple[tuple[int, int], ...], released: bool = False) -> int:
    """Of the matrix products of a step without refresh. A product along an axis of size d is 2 d per element of the gradient.

    Released: into the basis, back, momentum out and in, and the Gram matrix: 5 an axis. Ours: 2, and of the Gram matrix the strips.
    """
    total = 0
    for shape in shapes(blocks):
        if len(shape) == 2:
            m, n = shape
            for d in shape:
                strips = sum(min(basis.STRIP, d - start) * (d - start) for start in range(0, d, basis.STRIP)) / d**2
                total += 2 * d * m * n * (5 if released else 2 + strips)
    return int(total)


@dataclass
class Run:
    """An optimizer on its own parameters with the same gradients as all others: rounds of 20 steps, one continuing the other."""

    make: Make
    blocks: tuple[tuple[int, int], ...]
    device: str = "cpu"

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.params = [torch.nn.Parameter(0.02 * torch.randn(shape, generator=generator).to(self.device)) for shape in shapes(self.blocks)]
        self.gradients = [[0.01 * torch.randn(p.shape, generator=generator).to(self.device) for p in self.params] for _ in range(3)]
        self.optimizer = self.make(self.params)
        self.rounds: list[list[Seconds]] = []
        self.step(0)

    def step(self, number: int) -> Seconds:
        """One step on gradients that no optimizer may keep for itself."""
        for p, g in zip(self.params, self.gradients[number % len(self.gradients)], strict=True):
            p.grad = g.clone()
        synchronize(self.device)
        wall, cpu = time.perf_counter(), time.process_time()
        self.optimizer.step()
        synchronize(self.device)
        return Seconds(time.process_time() - cpu, time.perf_counter() - wall)

    def round(self) -> None:
        """20 steps: the tenth and the twentieth refresh."""
        gc.collect()
        self.rounds.append([self.step(number) for number in range(1, STEPS + 1)])

    @property
    def whole(self) -> Seconds:
        """A median round."""
        return Seconds(*(statistics.median(sum(getattr(s, clock) for s in each) for each in self.rounds) for clock in ("cpu", "wall")))

    @property
    def between(self) -> Seconds:
        """A median step without refresh."""
        steps = [s for each in self.rounds for number, s in enumerate(each, 1) if number % FREQUENCY]
        return Seconds(*(statistics.median(getattr(s, clock) for s in steps) for clock in ("cpu", "wall")))


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def is_equal(make: Make, other: Make, tolerance: float, device: str = "cpu") -> bool:
    """Whether two rules move three square matrices and a vector to the same places in 31 steps, three of which refresh."""
    places = []
    for each in (make, other):
        generator = torch.Generator().manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(device)) for shape in ((24, 24), (24, 24), (16, 16), (24,))]
        start = [p.detach().clone() for p in params]
        optimizer = each(params)
        for _ in range(32):
            for p in params:
                p.grad = (torch.randn(p.shape, generator=generator) * torch.logspace(0, -1, p.shape[-1])).to(device)
            optimizer.step()
        places.append([(p.detach() - old).flatten() for p, old in zip(params, start, strict=True)])
    moved, peers = (torch.cat(each) for each in places)
    return bool((moved - peers).norm() < tolerance * peers.norm())


def refresh_row(quick: bool) -> dict[str, Any]:
    """All bases anew from Gram matrices of 20 gradients, by batched CholeskyQR2 and by Householder."""
    blocks = QUICK_BLOCKS if quick else BLOCKS
    step = Run(ours, blocks)
    for number in range(1, FREQUENCY):
        step.step(number)
    stacks = {id(stack): stack.whole for stack in step.optimizer._stacks.values()}.values()
    pairs = [(whole[f"gram_{k}"], whole[f"Q_{k}"]) for whole in stacks for k in range(2) if f"gram_{k}" in whole]

    def refreshed(method: str) -> list[torch.Tensor]:
        return [basis.refreshed(gram, Q, method)[0] for gram, Q in pairs]

    errors = [1 - (a * b).sum(-2).abs().min().item() for a, b in zip(refreshed("cholesky"), refreshed("qr"), strict=True)]
    seconds = in_turns(1 if quick else ROUNDS, cholesky=lambda: refreshed("cholesky"), qr=lambda: refreshed("qr"))
    return row(
        "refresh/cholesky", "all bases anew", seconds["cholesky"].cpu, "s", peer="refresh/qr", peer_value=seconds["qr"].cpu,
        ratio=seconds["qr"].cpu / seconds["cholesky"].cpu, target=None, met=None, equal=max(errors) < 1e-3, largest_error=max(errors),
        wall_value=round(seconds["cholesky"].wall, 4), wall_peer_value=round(seconds["qr"].wall, 4),
        note="batched products beside LAPACK's Householder: for GPUs; the default stays qr. equal: every column is the same but for its sign",
    )  # fmt: skip


def gpu_rows(quick: bool) -> list[dict[str, Any]]:
    """24 blocks of d1024 beside the released rule, and the share of a step of 2M tokens that SOAP adds to AdamW's."""
    cases = ("step/gpu_d1024", f"{STEPS} steps, {STEPS // FREQUENCY} refreshes", RELEASED, GPU_WHOLE), (
        "step/gpu_overhead", "share of a step of 2M tokens, 360M parameters", ADAMW, OVERHEAD)  # fmt: skip
    if not torch.cuda.is_available():
        return [not_measured(case, metric, peer, "no GPU here") | {"target": target} for case, metric, peer, target in cases]
    blocks = QUICK_BLOCKS if quick else GPU_BLOCKS
    mine = measured(lambda params: ours(params, refresh="cholesky"), blocks, quick)
    theirs, adamw = (measured(make, blocks, quick) for make in (Released, lambda params: torch.optim.AdamW(params, fused=True)))
    ratio = theirs.whole.wall / mine.whole.wall
    extra = (mine.whole.wall - adamw.whole.wall) / STEPS
    share = extra / model_seconds("cuda", *((64, 2, 2048) if quick else (1024, 24, BATCH_TOKENS)))
    return [
        row(
            *cases[0][:2], mine.whole.wall, "s", peer=RELEASED, peer_value=theirs.whole.wall, ratio=ratio, target=GPU_WHOLE, met=ratio >= GPU_WHOLE,
            equal=is_equal(lambda params: ours(params, refresh="cholesky"), Released, 1e-2, "cuda"), clock="wall",
        ),
        row(
            *cases[1][:2], share, "share", peer=ADAMW, peer_value=0.0, ratio=mine.whole.wall / adamw.whole.wall, target=OVERHEAD, met=share <= OVERHEAD,
            equal=False, clock="wall",
        ) | ANOTHER_RULE,
    ]  # fmt: skip


def measured(make: Make, blocks: tuple[tuple[int, int], ...], quick: bool) -> Run:
    """A run alone on the GPU, which has no room for two."""
    found = Run(make, blocks, "cuda")
    found.round()  # compiles the kernels
    found.rounds.clear()
    for _ in range(1 if quick else ROUNDS):
        found.round()
    found.params, found.gradients, found.optimizer = [], [], None
    return found


def model_seconds(device: str, d_model: int, num_layers: int, num_tokens: int) -> float:
    """Forward and backward pass over so many tokens, from those of one microbatch."""
    from models.transformer import Transformer, TransformerConfig

    config = TransformerConfig(vocab_size=32_128, d_model=d_model, num_layers=num_layers, num_heads=d_model // 64, ffn_dim=8 * d_model // 3, seq_len=SEQ_LEN)
    model = Transformer(config, seed=0).to(device)
    tokens_BT = torch.randint(config.vocab_size, (MICROBATCH, SEQ_LEN + 1), device=device)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:], 1e-4).total
        loss.backward()
        synchronize(device)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:]) * num_tokens / (MICROBATCH * SEQ_LEN)
