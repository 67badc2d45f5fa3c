"""What PyTorch's users expect of an optimizer, asked of every one in the package.

Most tests compare two runs that must be equal. Parameters are a matrix, a vector, a second matrix of the first's shape and
a 3-D tensor, so that batching by shape has something to batch.
"""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from models import optim

ROOT = Path(__file__).resolve().parents[3]
SHAPES = [(4, 3), (5,), (4, 3), (2, 3, 2)]
CASES = {
    "SGD": dict(),
    "Lion": dict(),
    "Signum": dict(),
    "Adafactor": dict(),
    "Adafactor of neurons": dict(neuron_only=True),
    "Adalayer": dict(),
    "Adalayer by rows": dict(blocks="rows"),
    "Adalayer frozen": dict(measure_steps=3, frozen=True),
    "Shampoo": dict(precondition_frequency=3),
    "Shampoo of small axes": dict(precondition_frequency=3, max_precond_dim=3),
    "SOAP": dict(precondition_frequency=3),
    "SOAP of vectors too": dict(precondition_frequency=3, precondition_1d=True, normalize_grads=True),
    "SOAP one-sided and factorized": dict(precondition_frequency=3, one_sided=True, factorized=True, refresh="cholesky"),
}
ELEMENTWISE = [case for case in CASES if not case.startswith(("Shampoo", "SOAP"))]
ASKS_AT_FIRST = [case for case in CASES if case.startswith(("Shampoo", "SOAP"))]

every = pytest.mark.parametrize("case", CASES)


def test_every_optimizer_of_the_package_is_here():
    assert {case.split()[0] for case in CASES} == set(optim.__all__)


def make(case: str, params, **options) -> torch.optim.Optimizer:
    return getattr(optim, case.split()[0])(params, **{"lr": 0.01, "weight_decay": 0.1, **CASES[case], **options})


def parameters(dtype=torch.float32, shapes=SHAPES) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]


def set_gradients(params, step: int, factor: float = 1.0, only=None) -> None:
    generator = torch.Generator().manual_seed(1000 + step)
    for place, p in enumerate(params):
        g = torch.randn(p.shape, generator=generator)
        p.grad = (factor * g).to(p.dtype) if only is None or place in only else None


def run(optimizer, params, first=0, last=8, **gradients) -> None:
    for step in range(first, last):
        set_gradients(params, step, **gradients)
        optimizer.step()


def assert_equal(params, others) -> None:
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)


@every
def test_moves_is_deterministic_and_does_not_touch_gradients(case):
    runs = [parameters(), parameters()]
    for params in runs:
        run(make(case, params), params)
    assert_equal(*runs)
    set_gradients(runs[1], 7)
    assert all(torch.equal(p.grad, q.grad) and p.isfinite().all() for p, q in zip(*runs, strict=True))
    assert all(not torch.equal(p, q) for p, q in zip(runs[0], parameters(), strict=True))


@every
def test_closures_go_backward_and_their_loss_is_returned(case):
    with_closure, by_hand = parameters(), parameters()
    optimizer, twin = make(case, with_closure), make(case, by_hand)

    def loss_of(params, of):
        of.zero_grad()
        loss = sum((p - 1).square().sum() for p in params)
        loss.backward()
        return loss

    for _ in range(6):
        expected = loss_of(by_hand, twin)
        twin.step()
        with torch.no_grad():  # step has to turn gradients on again
            found = optimizer.step(lambda: loss_of(with_closure, optimizer))
        assert torch.equal(found, expected)
    assert_equal(with_closure, by_hand)


@every
def test_groups_are_as_independent_as_optimizers(case):
    together, apart = parameters(), parameters()
    options = [dict(lr=0.02, weight_decay=0.0), dict(lr=0.001, weight_decay=0.3)]
    if "betas" in make(case, parameters()).defaults:
        options[0]["betas"], options[1]["betas"] = (0.5, 0.6), (0.7, 0.2)
    else:
        options[0]["momentum"], options[1]["momentum"] = 0.5, 0.7
    optimizer = make(case, [{"params": together[:2], **options[0]}])
    optimizers = [make(case, apart[:2], **options[0])]
    run(optimizer, together, last=3)
    run(optimizers[0], apart, last=3)
    optimizer.add_param_group({"params": together[2:], **options[1]})
    optimizers.append(make(case, apart[2:], **options[1]))
    for step in range(3, 10):
        set_gradients(together, step)
        set_gradients(apart, step)
        optimizer.step()
        for each in optimizers:
            each.step()
    assert_equal(together, apart)


SCHEDULERS = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=8),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=9),
    "one after another": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[3]
    ),
}


@every
@pytest.mark.parametrize("name", SCHEDULERS)
def test_torchs_schedulers_are_heard(case, name):
    scheduled, by_hand = parameters(), parameters()
    optimizer, twin = make(case, scheduled), make(case, by_hand)
    scheduler, seen = SCHEDULERS[name](optimizer), []
    for step in range(8):
        group = optimizer.param_groups[0]
        seen.append(group["lr"])
        for key in ("lr", "betas", "momentum"):
            if key in group:
                twin.param_groups[0][key] = group[key]
        run(optimizer, scheduled, step, step + 1)
        run(twin, by_hand, step, step + 1)
        scheduler.step()
    assert len(set(seen)) > 4
    assert_equal(scheduled, by_hand)
    unscheduled = parameters()
    run(make(case, unscheduled), unscheduled)
    assert not torch.equal(scheduled[0], unscheduled[0])


@every
def test_steps_are_counted_for_each_parameter(case):
    """A parameter without a gradient waits; its first step is a first step whatever the others have done."""
    params, alone = parameters(), parameters()
    optimizer, twin = make(case, params), make(case, alone)
    for step in range(9):
        set_gradients(params, step, only=(0, 1) if step < 3 else (0, 1, 2, 3) if step != 5 else (1, 2, 3))
        optimizer.step()
        set_gradients(alone, step, only=() if step < 3 else (2, 3))
        twin.step()
    for p, q in zip(params[2:], alone[2:], strict=True):  # the batches differ, and with them the last bits of products
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    steps = [optimizer.state[p]["step"] for p in params]
    assert (steps[0], steps[2]) == (steps[1] - 1, steps[1] - 3)


@every
def test_maximize_is_minimizing_the_negative(case):
    up, down = parameters(), parameters()
    run(make(case, up, maximize=True), up)
    run(make(case, down), down, factor=-1.0)
    assert_equal(up, down)


@every
def test_foreach_gives_the_numbers_of_the_plain_loop(case):
    runs = []
    for foreach in (None, True, False):
        runs.append(parameters(torch.float64))
        run(make(case, runs[-1], foreach=foreach), runs[-1], last=12)
    assert_equal(runs[0], runs[1])
    for batched, plain in zip(runs[1], runs[2], strict=True):
        torch.testing.assert_close(batched, plain, rtol=1e-10, atol=1e-12)


@every
@pytest.mark.parametrize("stopped_after", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_run_is_equal_to_the_bit(case, stopped_after, dtype, tmp_path):
    whole = parameters(dtype)
    optimizer = make(case, whole)
    run(optimizer, whole, last=stopped_after)
    torch.save({"params": [p.detach() for p in whole], "optimizer": optimizer.state_dict()}, tmp_path / "saved.pt")
    in_memory = copy.deepcopy(optimizer.state_dict())
    params_then = copy.deepcopy(whole)
    run(optimizer, whole, first=stopped_after, last=10)

    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    for params, state in ((params_then, in_memory), ([nn.Parameter(p) for p in saved["params"]], saved["optimizer"])):
        resumed = make(case, params, lr=7.0)
        resumed.load_state_dict(state)
        run(resumed, params, first=stopped_after, last=10)
        assert_equal(params, whole)


@every
def test_a_copied_optimizer_goes_on_by_itself(case):
    params = parameters()
    optimizer = make(case, params)
    run(optimizer, params, last=4)
    copied_params, copied = copy.deepcopy((params, optimizer))
    before = copy.deepcopy(params)
    run(copied, copied_params, first=4)
    assert_equal(params, before)
    run(optimizer, params, first=4)
    assert_equal(params, copied_params)


@every
def test_states_are_fp32_tensors_and_ints_under_flat_keys_also_in_bf16_models(case):
    params = parameters(torch.bfloat16)
    optimizer = make(case, params)
    run(optimizer, params, last=5)
    twin = make(case, parameters(torch.bfloat16))
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for state in (*optimizer.state.values(), *twin.state.values()):
        assert all(isinstance(key, str) and type(value) in (torch.Tensor, int) for key, value in state.items())
        assert all(value.dtype == torch.float32 for value in state.values() if isinstance(value, torch.Tensor))
    assert all(p.dtype == torch.bfloat16 and p.isfinite().all() for p in params)


@every
def test_a_first_gradient_of_zeros_moves_nothing_and_spoils_nothing(case):
    params, untouched, as_usual = parameters(), parameters(), parameters()
    optimizer = make(case, params, weight_decay=0.0)
    run(optimizer, params, last=1, factor=0.0)
    assert_equal(params, untouched)
    run(optimizer, params, first=1, last=12)
    run(make(case, as_usual, weight_decay=0.0), as_usual, first=1, last=12)
    # moments that hold a zero more make updates at most a few times longer or shorter, and no direction blows up
    for p, q, start in zip(params, as_usual, untouched, strict=True):
        ratio = (p - start).norm() / (q - start).norm()
        assert 1 / 3 < ratio < 3, (case, ratio)


@every
def test_sparse_and_complex_gradients_are_refused_by_name(case):
    name = case.split()[0]
    embedding = nn.Embedding(6, 3, sparse=True)
    embedding(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(ValueError, match=rf"{name}: the gradient of table, shape \(6, 3\), is sparse"):
        make(case, [("table", embedding.weight)]).step()
    p = nn.Parameter(torch.ones(6, 3, dtype=torch.complex64))
    p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match=rf"{name}: the gradient of parameter 0 of its group, shape \(6, 3\), is complex"):
        make(case, [p]).step()


@every
def test_bad_hyperparameters_are_refused_at_once_and_in_later_groups(case):
    name = case.split()[0]
    bad = {"lr": -1.0, "weight_decay": -0.1, "eps": -1e-8, "betas": (0.9, 1.0), "momentum": 1.0, "precondition_frequency": 0}
    for key, value in bad.items():
        if key in make(case, parameters()).defaults:
            with pytest.raises(ValueError, match=f"{name}: {key} is "):
                make(case, parameters(), **{key: value})
            optimizer = make(case, parameters())
            with pytest.raises(ValueError, match=f"{name}: {key} is "):
                optimizer.add_param_group({"params": parameters(), key: value})
    with pytest.raises(ValueError, match="empty parameter list"):
        make(case, [])


@every
def test_a_tensor_is_as_good_a_learning_rate_as_a_number(case):
    runs = []
    for lr in (0.01, torch.tensor(0.01, dtype=torch.float64)):
        runs.append(parameters(torch.float64))
        run(make(case, runs[-1], lr=lr), runs[-1])
    for number, tensor in zip(*runs, strict=True):
        torch.testing.assert_close(number, tensor, rtol=1e-12, atol=1e-14)


@every
def test_no_step_after_the_first_asks_the_device_for_a_number(case):
    """On the meta device there are no numbers: whatever would wait for the device raises."""
    params = parameters()
    optimizer = make(case, params)
    run(optimizer, params, last=4)
    if "refresh" in CASES[case]:
        optimizer.param_groups[0]["refresh"] = "qr"  # a checked factorisation asks once a refresh whether it was good
    elsewhere = [nn.Parameter(p.detach().to("meta")) for p in params]
    twin = make(case, elsewhere)
    twin.load_state_dict(optimizer.state_dict())
    twin.param_groups[0].update({key: value for key, value in optimizer.param_groups[0].items() if key != "params"})
    for _ in range(7):
        for p in elsewhere:
            p.grad = torch.empty_like(p)
        twin.step()
    steps = {state["step"] for state in twin.state.values()}
    assert steps == {state["step"] + 7 for state in optimizer.state.values()}


@pytest.mark.parametrize("case", CASES)
def test_the_first_step_asks_only_where_zeros_must_not_count(case):
    params = [nn.Parameter(torch.empty(4, 3, device="meta"))]
    params[0].grad = torch.empty(4, 3, device="meta")
    optimizer = make(case, params)
    if case in ASKS_AT_FIRST:
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            optimizer.step()
    else:
        optimizer.step()


def compiled_graphs(case: str, backend: str) -> int:
    """Graphs that ten steps of a compiled optimizer take while lr changes, after the numbers were checked."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled, plain = parameters(shapes=SHAPES[:2]), parameters(shapes=SHAPES[:2])
    optimizer, twin = make(case, compiled), make(case, plain)
    step = torch.compile(optimizer.step, backend=backend, fullgraph=True)
    for place in range(10):
        for each in (optimizer, twin):
            each.param_groups[0]["lr"] = 0.1 / (1 + place)
        set_gradients(compiled, place)
        set_gradients(plain, place)
        step()
        twin.step()
    for p, q in zip(compiled, plain, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("case", ["SGD", "Lion", "Signum", "Adafactor", "Adalayer"])
def test_a_compiled_step_is_compiled_at_most_three_times(case):
    """First step, second, and one for all that follow: neither step nor lr is a constant of the graph.

    Without code generation, but with the pass that would take floats for constants.
    """
    assert compiled_graphs(case, "aot_eager") <= 3


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles for the CPU with g++")
def test_a_compiled_step_runs_as_generated_code():
    assert compiled_graphs("Signum", "inductor") <= 3


TRAIN_ON_A_RANK = """
import hashlib, os, sys
import torch, torch.distributed as dist
from torch import nn
sys.path.insert(0, "tests/models/optim")
import test_conformance as t

rank, rendezvous = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
for case in t.CASES:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 3))
    model = nn.parallel.DistributedDataParallel(net)
    optimizer = t.make(case, model.parameters())
    generator = torch.Generator().manual_seed(rank)
    for _ in range(8):
        optimizer.zero_grad()
        model(torch.randn(5, 6, generator=generator)).square().mean().backward()
        optimizer.step()
    digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest()
    print(case, digest, sep="\\t")
dist.barrier()
sys.stdout.flush()
os._exit(0)  # a rank that takes its group down while the other one still talks to it may abort
"""


def test_two_ranks_that_see_different_data_hold_the_same_weights(tmp_path):
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN_ON_A_RANK, str(rank), str(tmp_path / "rendezvous")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=180) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    digests = [dict(line.split("\t") for line in out.splitlines()) for out, _ in outputs]
    assert set(digests[0]) == set(CASES) and digests[0] == digests[1]
    assert len(set(digests[0].values())) == len(CASES)
