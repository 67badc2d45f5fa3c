"""The three networks: letters, gradients sample by sample against torch.func, drawn labels against the exact Gauss-Newton matrix, and learning."""

import math
import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call, grad
from torch.nn import functional as F

from models.kron import SecondMoment, shampoo_cosines
from models.small_networks import (
    CHUNK,
    DIGIT,
    FOREIGN,
    NETWORKS,
    NUM_LETTERS,
    SIGN,
    SPACE,
    WINDOW,
    LayerGradients,
    batch_gradients,
    fold_letters,
    layer_gradients,
    train_through,
)


def windows(count, seed=0, period=None):
    """Random windows; with `period`, windows of one repeated word, so that the next letter can be learnt."""
    generator = torch.Generator().manual_seed(seed)
    if period is None:
        return torch.randint(NUM_LETTERS, (count, WINDOW), generator=generator)
    starts = torch.randint(period, (count, 1), generator=generator)
    return (starts + torch.arange(WINDOW)) % period


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fold_one(character):
    """The plain twin: the letters of one character."""
    if not character.isascii():
        return [FOREIGN] * len(character.encode())
    if character in string.ascii_letters:
        return [string.ascii_lowercase.index(character.lower()) + 1]
    return [DIGIT if character in string.digits else SPACE if ord(character) <= 32 else SIGN]


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_letters_as_in_the_plain_twin(text):
    assert fold_letters(text).tolist() == [letter for character in text for letter in fold_one(character)]


def test_every_character_of_ascii_has_its_letter():
    text = "".join(map(chr, range(128)))
    assert fold_letters(text).tolist() == [fold_one(character)[0] for character in text] and max(fold_letters(text)) == NUM_LETTERS - 1


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_sample_by_sample_as_torch_func_finds_them(name):
    network, data = NETWORKS[name], windows(6)
    model = network.build(3)
    found, loss = layer_gradients(model, network.layers, data)
    parameters = {key: value.detach() for key, value in model.named_parameters()}

    def of_sample(parameters, window_L):
        logits_PV = functional_call(model, parameters, (window_L[None, :-1],))[0]
        return F.cross_entropy(logits_PV, window_L[-len(logits_PV) :], reduction="sum")

    one_by_one = [grad(of_sample)(parameters, window_L) for window_L in data]
    expected = {key: torch.stack([each[key] for each in one_by_one]) for key in parameters}
    for layer in network.layers:
        assert torch.allclose(found[layer].of_batches(), expected[f"{layer}.weight"], atol=1e-5), layer
        pairs = expected[f"{layer}.weight"].reshape(3, 2, *expected[f"{layer}.weight"].shape[1:]).mean(1)
        assert torch.allclose(found[layer].of_batches(2), pairs, atol=1e-5), layer
        assert network.one_position == (found[layer].acts_BPN.shape[1] == 1)
    positions = next(iter(found.values())).acts_BPN.shape[1]
    assert loss == pytest.approx(float(torch.stack([of_sample(parameters, w) for w in data]).mean()) / positions, rel=1e-5)


def test_drawn_labels_give_the_gauss_newton_matrix():
    """Of the linear model it is E[(diag p - p p^T) (x) x x^T]; real labels of random text give another matrix."""
    network, data = NETWORKS["linear"], windows(1).repeat(40_000, 1)
    model = network.build(0)
    found, _ = layer_gradients(model, ("output",), data, generator())
    deltas = found["output"].deltas_BPM[:, 0].double()
    p = model(data[:1, :-1])[0, 0].detach().double().softmax(0)
    exact = torch.diag(p) - torch.outer(p, p)
    assert torch.allclose(deltas.T @ deltas / len(deltas), exact, atol=0.004)
    assert float(deltas.mean(0).abs().max()) < 0.01  # so that batches add up to nothing but scale
    real, _ = layer_gradients(model, ("output",), data[:1])
    assert not torch.allclose(real["output"].deltas_BPM[0, 0].double().outer(real["output"].deltas_BPM[0, 0].double()), exact, atol=0.1)


def test_batches_of_drawn_labels_differ_in_scale_alone_and_those_of_real_ones_do_not():
    """E[G_B G_B^T] = E[G G^T] / B where the mean gradient is zero; real labels that the model does not expect make it far from zero."""
    network, data = NETWORKS["mlp"], windows(33 * 400)
    model = network.build(1)

    def moment(data, size, labels):
        return SecondMoment(batch_gradients(model, ("output",), data, size, labels)["output"])

    H, others = moment(data[:400], 1, generator(0)), data[400:]
    drawn = {size: shampoo_cosines(H, moment(others[: 400 * size], size, generator(1)).factors)[1] for size in (1, 32)}
    real = {size: shampoo_cosines(H, moment(others[: 400 * size], size, None).factors)[1] for size in (1, 32)}
    assert drawn[32] == pytest.approx(drawn[1], abs=0.03)
    assert real[32] < real[1] - 0.04 and real[32] < drawn[32] - 0.1


def test_batches_do_not_depend_on_chunks():
    network, data = NETWORKS["mlp"], windows(CHUNK + 48)
    model = network.build(0)
    chunked = batch_gradients(model, network.layers, data, 16)
    whole, _ = layer_gradients(model, network.layers, data)
    for layer, grads in chunked.items():
        assert torch.allclose(grads, whole[layer].of_batches(16), atol=1e-6) and len(grads) == len(data) // 16


def test_gradients_of_batches_are_means_over_samples():
    gradients = LayerGradients(torch.ones(4, 3, 2), torch.arange(4.0).reshape(4, 1, 1).expand(4, 3, 5))
    assert torch.equal(gradients.of_batches(2), 3 * torch.tensor([0.5, 2.5]).reshape(2, 1, 1).expand(2, 2, 5))


@pytest.mark.parametrize("name", NETWORKS)
def test_training_learns_and_keeps_the_gradients_of_its_trajectory(name):
    network, data = NETWORKS[name], windows(64 * 60, period=7)
    model, losses = network.build(0), {}
    for step, past in train_through(network, model, data, (0, 1, 60)):
        _, losses[step] = layer_gradients(model, network.layers, data[:64])
        for layer in network.layers:
            assert len(past[layer]) == step
            if step:
                assert past[layer].shape[1:] == model.get_submodule(layer).weight.shape
    assert losses[60] < 0.5 * losses[0]

    again = network.build(0)
    batch, (_, first) = data[: network.batch_size], layer_gradients(again, network.layers, data[: network.batch_size])
    found, _ = layer_gradients(again, network.layers, batch)
    positions = 1 if network.one_position else WINDOW - 1
    for layer in network.layers:  # the first gradient is that of the first batch's mean loss over samples and positions
        assert torch.allclose(past[layer][0], found[layer].of_batches(network.batch_size)[0] / positions, atol=1e-6)
    assert first < 2 * math.log(NUM_LETTERS)


def test_seeds_draw_weights_and_text_must_last():
    for network in NETWORKS.values():
        one, same, other = (dict(network.build(seed).named_parameters()) for seed in (0, 0, 1))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not any(torch.equal(one[f"{layer}.weight"], other[f"{layer}.weight"]) for layer in network.layers)
    with pytest.raises(ValueError, match="need 640, and there are 639"):
        next(train_through(NETWORKS["linear"], NETWORKS["linear"].build(0), windows(639), (0, 10)))
