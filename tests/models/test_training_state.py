"""Saved states: anything an optimizer remembers comes back equal, and a state of another run is named as such."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoint import load_tensors, save_tensors
from models.ewa import WeightAverages
from models.scales import Recipe
from models.training_state import describe_run, first_difference, load_state, pack, save_state, unpack
from models.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(vocab_size=11, d_model=8, num_layers=1, num_heads=2, ffn_dim=12, seq_len=6)
RECIPE = Recipe(num_tokens=60, batch_size=2, lr=1e-2, cooldown_lr=0.0, warmup_steps=1, weight_decay=0.0, z_loss_weight=0.0)
CPU = torch.device("cpu")
OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, amsgrad=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "nadam": lambda p: torch.optim.NAdam(p),
    "adagrad": lambda p: torch.optim.Adagrad(p),
    "rprop": lambda p: torch.optim.Rprop(p),
    "adafactor": lambda p: torch.optim.Adafactor(p),
    "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=2, history_size=3),  # lists of tensors, integers, floats and None
    "groups": lambda p: torch.optim.AdamW([{"params": p[:2], "lr_scale": 0.5}, {"params": p[2:], "betas": (0.5, 0.9)}]),
}


class World:
    """A model with its optimizer and averages, trained by a closure on tokens of its own seed."""

    def __init__(self, make, seed: int = 0) -> None:
        self.model = Transformer(CONFIG, seed=seed)
        self.optimizer = make(list(self.model.parameters()))
        self.averages = WeightAverages(self.model.parameters(), (0.5, 0.9))

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last):
            tokens = torch.randint(11, (2, 7), generator=torch.Generator().manual_seed(step))

            def closure(tokens=tokens):
                self.optimizer.zero_grad()
                loss = self.model.loss(tokens[:, :-1], tokens[:, 1:], 0.0).total
                loss.backward()
                return loss

            self.optimizer.step(closure)
            self.averages.update()

    def everything(self) -> dict:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "averages": self.averages.state_dict()}


def equal(a, b) -> bool:
    """Equal in value, type and dtype, all the way down."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_goes_on_to_the_bit(tmp_path, name):
    whole, stopped, resumed = World(OPTIMIZERS[name]), World(OPTIMIZERS[name]), World(OPTIMIZERS[name], seed=1)
    whole.steps(0, 5)
    stopped.steps(0, 3)
    save_state(tmp_path / "state", {"seed": 0}, 3, stopped.model, stopped.optimizer, stopped.averages, CPU)
    stopped.steps(3, 4)  # the file is a copy
    assert load_state(tmp_path / "state", {"seed": 0}, resumed.model, resumed.optimizer, resumed.averages, CPU) == 3
    resumed.steps(3, 5)
    assert equal(resumed.everything(), whole.everything())


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
        | st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8]).flatmap(
            lambda dtype: st.sampled_from([(), (0,), (3,), (2, 2)]).map(lambda shape: torch.ones(shape).to(dtype))
        ),
        lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.integers() | st.text("ab", max_size=2), inner, max_size=3),
    )
)  # fmt: skip
def test_a_nested_state_comes_back_equal(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "nested"
    tensors: dict[str, torch.Tensor] = {}
    form = pack(state, "", tensors)
    save_tensors(path, tensors, {"form": form})
    tensors, facts = load_tensors(path)
    assert equal(unpack(facts["form"], tensors), state)


def test_views_and_shared_tensors_come_back_as_their_values(tmp_path):
    stack = torch.arange(12.0).view(3, 4)
    state = {"rows": list(stack), "turned": stack.T, "twice": [stack, stack]}
    tensors: dict[str, torch.Tensor] = {}
    form = pack(state, "", tensors)
    stack.zero_()
    save_tensors(tmp_path / "views", tensors, {"form": form})
    tensors, facts = load_tensors(tmp_path / "views")
    found, expected = unpack(facts["form"], tensors), torch.arange(12.0).view(3, 4)
    assert equal(found, {"rows": list(expected), "turned": expected.T, "twice": [expected, expected]})


def test_what_is_no_data_is_named():
    with pytest.raises(TypeError, match=r"optimizer.state.0.closure is a function, which no file can hold"):
        pack({"optimizer": {"state": {0: {"closure": lambda: None}}}}, "", {})


def test_torchs_generator_goes_on_where_it_was(tmp_path):
    world = World(OPTIMIZERS["sgd"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        torch.rand(3)
        save_state(tmp_path / "state", {}, 1, world.model, world.optimizer, world.averages, CPU)
        expected = torch.rand(4)
        torch.manual_seed(6)
        load_state(tmp_path / "state", {}, world.model, world.optimizer, world.averages, CPU)
        assert torch.equal(torch.rand(4), expected)


def test_a_run_is_described_by_all_that_shapes_its_outputs():
    rows = np.arange(70, dtype=np.uint16).reshape(10, 7) % 11
    description = dict(
        config=CONFIG,
        recipe=RECIPE,
        sequences=rows,
        validation=rows[:3],
        eval_steps=(2, 4),
        seed=0,
        num_threads=1,
        device=CPU,
    )
    run = describe_run(**description)
    assert run == describe_run(**description) and run["recipe"]["betas"] == [0.9, 0.95]
    for field, value, name in (
        ("seed", 1, "seed"),
        ("num_threads", 2, "num_threads"),
        ("eval_steps", (4,), "eval_steps"),
        ("config", replace(CONFIG, ffn_dim=16), "config.ffn_dim"),
        ("recipe", replace(RECIPE, optimizer="soap"), "recipe.optimizer"),
        ("recipe", replace(RECIPE, options=(("momentum", 0.5),)), "recipe.options"),
        ("recipe", replace(RECIPE, schedule="wsd"), "recipe.schedule"),
        ("recipe", replace(RECIPE, wsd_decay_fraction=0.1), "recipe.wsd_decay_fraction"),
        ("recipe", replace(RECIPE, ewa_decays=(0.9,)), "recipe.ewa_decays"),
        ("recipe", replace(RECIPE, measure_noise=True), "recipe.measure_noise"),
        ("sequences", rows[:9], "sequences.shape"),
        ("sequences", rows[::-1], "sequences.sample_sha256"),
        ("validation", rows[1:4], "validation.sample_sha256"),
        ("validation", None, "validation"),
    ):
        found = first_difference(run, describe_run(**{**description, field: value}))
        assert found and found[0] == name


def test_a_field_that_only_one_description_has_is_a_difference(tmp_path):
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}) == ("a.c", "without it", 2)
    assert first_difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}) == ("a.c", 2, "without it")
    world = World(OPTIMIZERS["sgd"])
    save_state(tmp_path / "state", {"recipe": {"lr": 1.0}}, 1, world.model, world.optimizer, world.averages, CPU)
    with pytest.raises(ValueError, match=r"another recipe.lr \(saved 1.0, now 2.0\); pass resume=False"):
        load_state(tmp_path / "state", {"recipe": {"lr": 2.0}}, world.model, world.optimizer, world.averages, CPU)
