"""Three small networks that predict the next letter of a text, and the gradients of their layers sample by sample.

    linear       multinomial logistic regression on the last 4 letters, one-hot
    mlp          the last 8 letters embedded, two hidden layers of ReLU
    transformer  one block of models.transformer, at every position of 32 letters

Text is folded to 29 letters, so that some hundred gradients can show a layer's second moment. The gradient of a linear layer is
sum_p delta_p act_p^T over the positions p of a sample, so one backward pass over many samples holds the gradient of each.

Shapes: B samples, L = T + 1 letters of a window, T inputs, P positions predicted (T or 1), V letters, M x N a layer's weight, S gradients.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.transformer import Transformer, TransformerConfig

NUM_LETTERS, WINDOW = 29, 33
SPACE, DIGIT, SIGN, FOREIGN = 0, 27, 28, 255
CHUNK = 256
"""Samples whose activations exist at a time."""


def fold_letters(text: str) -> np.ndarray:
    """One uint8 a UTF-8 byte: SPACE, 1..26 for a..z of either case, DIGIT, SIGN for the rest of ASCII, FOREIGN for all else."""
    byte = np.frombuffer(text.encode(), np.uint8)
    lower = np.where((byte >= ord("A")) & (byte <= ord("Z")), byte + 32, byte)
    letters = np.full(len(byte), SIGN, np.uint8)
    letters[byte <= ord(" ")] = SPACE
    letters[(byte >= ord("0")) & (byte <= ord("9"))] = DIGIT
    alphabetic = (lower >= ord("a")) & (lower <= ord("z"))
    letters[alphabetic] = lower[alphabetic] - ord("a") + 1
    letters[byte >= 128] = FOREIGN
    return letters


class Linear(nn.Module):
    """Multinomial logistic regression on the last letters, one-hot: convex, as the linear model of the paper."""

    span = 4

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.output = nn.Linear(self.span * NUM_LETTERS, NUM_LETTERS, bias=False)
        _draw(self, seed)

    def forward(self, letters_BT: Tensor) -> Tensor:
        """Logits (B, 1, V) of the letter after the last one."""
        one_hot_BSV = F.one_hot(letters_BT[:, -self.span :], NUM_LETTERS).float()
        return self.output(one_hot_BSV.flatten(1)[:, None])


class MLP(nn.Module):
    """Embeddings of the last letters side by side, then two hidden layers of ReLU."""

    span, embedding_dim, width = 8, 12, 48

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(NUM_LETTERS, self.embedding_dim)
        self.hidden_1 = nn.Linear(self.span * self.embedding_dim, self.width, bias=False)
        self.hidden_2 = nn.Linear(self.width, self.width, bias=False)
        self.output = nn.Linear(self.width, NUM_LETTERS, bias=False)
        _draw(self, seed)

    def forward(self, letters_BT: Tensor) -> Tensor:
        """Logits (B, 1, V) of the letter after the last one."""
        x_B1D = self.embedding(letters_BT[:, -self.span :]).flatten(1)[:, None]
        return self.output(self.hidden_2(self.hidden_1(x_B1D).relu()).relu())


def _one_block(seed: int) -> Transformer:
    shape = TransformerConfig(vocab_size=NUM_LETTERS, d_model=48, num_layers=1, num_heads=2, ffn_dim=96, seq_len=WINDOW - 1)
    return Transformer(shape, seed)


@torch.no_grad()
def _draw(model: nn.Module, seed: int) -> None:
    """Normal weights, of variance 1 / fan in; 2 / fan in behind which ReLU halves it (He et al. 2015); embeddings of variance 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        variance = 1.0 if name.startswith("embedding") else (2 if name.startswith("hidden") else 1) / weight.shape[1]
        weight.copy_(torch.randn(weight.shape, generator=generator) * variance**0.5)


@dataclass(frozen=True)
class SmallNetwork:
    """A network of the study, and how it is trained: by Adam at a constant rate on windows that never come twice."""

    build: Callable[[int], nn.Module]
    """Seed -> model, which maps letters (B, T) to logits (B, P, V) of what follows the last P."""
    layers: tuple[str, ...]
    """Its measured layers, all of them linear, by the names of their modules."""
    batch_size: int
    """Windows in a step."""
    lr: float
    one_position: bool = True
    """A sample predicts one letter, so that its gradients are outer products."""


NETWORKS = {
    "linear": SmallNetwork(Linear, ("output",), batch_size=64, lr=1e-2),
    "mlp": SmallNetwork(MLP, ("hidden_1", "hidden_2", "output"), batch_size=64, lr=3e-3),
    "transformer": SmallNetwork(
        _one_block,
        ("layers.0.attention.in_proj", "layers.0.attention.out_proj", "layers.0.feed_forward.w3", "output"),
        batch_size=16,
        lr=3e-3,
        one_position=False,
    ),
}


@dataclass(frozen=True)
class LayerGradients:
    """One layer's part in the gradients of B samples; the gradient of sample b is sum_p delta_bp act_bp^T."""

    deltas_BPM: Tensor
    """Gradients of each sample's summed loss by the layer's outputs."""
    acts_BPN: Tensor
    """The layer's inputs."""

    def of_batches(self, size: int = 1) -> Tensor:
        """Gradients (B / size, M, N) of the mean loss of each `size` samples that follow one another."""
        deltas_SPM, acts_SPN = (each.reshape(len(each) // size, -1, each.shape[-1]) for each in (self.deltas_BPM, self.acts_BPN))
        return deltas_SPM.transpose(1, 2) @ acts_SPN / size


def layer_gradients(
    model: nn.Module, layers: Sequence[str], windows_BL: Tensor, labels: torch.Generator | None = None
) -> tuple[dict[str, LayerGradients], float]:
    """Gradients of linear layers by the summed cross-entropy of every sample, and its mean over samples and positions in nats.

    labels: a generator draws them from the model's own distribution, position by position given the text before, so that the second
    moment of the gradients is the Gauss-Newton matrix; None takes the text's, which gives the empirical Fisher matrix.
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    with ExitStack() as hooks:
        for name in layers:

            def keep(_: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name) -> None:
                seen[name] = inputs[0].detach(), output

            hooks.callback(model.get_submodule(name).register_forward_hook(keep).remove)
        logits_BPV = model(windows_BL[:, :-1])
    targets_BP = windows_BL[:, -logits_BPV.shape[1] :]
    if labels is not None:
        probabilities_XV = logits_BPV.detach().softmax(-1).flatten(0, 1)
        targets_BP = torch.multinomial(probabilities_XV, 1, generator=labels).view_as(targets_BP)
    loss = F.cross_entropy(logits_BPV.flatten(0, 1), targets_BP.flatten(), reduction="sum")
    deltas = torch.autograd.grad(loss, [output for _, output in seen.values()])
    found = {name: LayerGradients(delta, act) for delta, (name, (act, _)) in zip(deltas, seen.items(), strict=True)}
    return found, float(loss.detach()) / targets_BP.numel()


def batch_gradients(
    model: nn.Module, layers: Sequence[str], windows_BL: Tensor, size: int, labels: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Gradients (B / size, M, N) of the layers by the mean loss of each `size` windows, some batches at a time; labels as in `layer_gradients`."""
    chunk = max(1, CHUNK // size) * size
    parts = [layer_gradients(model, layers, part_BL, labels)[0] for part_BL in windows_BL.split(chunk)]
    return {name: torch.cat([part[name].of_batches(size) for part in parts]) for name in layers}


def train_through(
    network: SmallNetwork, model: nn.Module, windows_BL: Tensor, checkpoints: Sequence[int]
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Train, and at each number of steps yield it with the layers' gradients (steps, M, N) so far: the trajectory that Adagrad sums over.

    checkpoints ascend. Raises ValueError where the windows do not last for the last of them: none is taken twice.
    """
    if checkpoints[-1] * network.batch_size > len(windows_BL):
        raise ValueError(
            f"train_through: {checkpoints[-1]} steps of {network.batch_size} windows need {checkpoints[-1] * network.batch_size:,}, "
            f"and there are {len(windows_BL):,}; give more text or train for fewer steps"
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=network.lr)
    past: dict[str, list[Tensor]] = {name: [] for name in network.layers}
    for step in range(checkpoints[-1] + 1):
        if step in checkpoints:
            yield step, {name: torch.stack(grads) if grads else torch.empty(0) for name, grads in past.items()}
        if step == checkpoints[-1]:
            return
        batch_BL = windows_BL[step * network.batch_size : (step + 1) * network.batch_size]
        logits_BPV = model(batch_BL[:, :-1])
        loss = F.cross_entropy(logits_BPV.flatten(0, 1), batch_BL[:, -logits_BPV.shape[1] :].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for name, grads in past.items():
            grads.append(model.get_submodule(name).weight.grad.clone())
