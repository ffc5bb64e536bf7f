"""Two PyTorch programs to compare with: Adam, and SAMT-S as one would write it there.

Written for speed as far as plain PyTorch goes: the data stand in one tensor, a batch is
one gather, gradients are asked for the visited block alone, and nothing is copied that
need not be. Only multi-layer perceptrons.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from samt_jax.bench.cells import BASELINE, Method, Network

LEARNING_RATE = 0.1
PROPOSAL_MAX = 0.1
META_LEARNING_RATE = 3e-5
NUM_FEATURES, ETA_WIDTH = 5, 64

Block = list[torch.Tensor]


def torch_epoch(
    network: Network, method: Method, dataset: Any, indices: np.ndarray
) -> tuple[Callable[[], float], dict[str, Any]]:
    """Prepares one of the two on a network.

    Args:
      network: The network, an MLP.
      method: Adam or SAMT-S.
      dataset: What is trained on.
      indices: The examples of each step, shape ``(steps, batch)``.

    Returns:
      What trains an epoch and returns its mean loss, and what is known of it.
    """
    torch.manual_seed(0)
    inputs, targets = (torch.from_numpy(np.array(part)) for part in dataset.train)
    data = inputs.reshape(len(inputs), -1), targets.long()
    widths = (data[0].shape[1], *(network.hidden or ()), dataset.num_outputs)
    blocks = [_linear(*pair) for pair in itertools.pairwise(widths)]
    steps = torch.from_numpy(np.array(indices)).long()
    make = _adam_step if method.name == BASELINE else _samt_step
    started = time.perf_counter()
    step = make(blocks)

    def run() -> float:
        total = 0.0
        for rows in steps:
            total += step(data[0][rows], data[1][rows])
        return total / len(steps)

    size = sum(leaf.nbytes for block in blocks for leaf in block)
    return run, {
        "params_bytes": size,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "trace_seconds": time.perf_counter() - started,
    }


def _linear(num_in: int, num_out: int) -> Block:
    bound = num_in**-0.5
    return [
        torch.empty(num_out, num_in).uniform_(-bound, bound),
        torch.empty(num_out).uniform_(-bound, bound),
    ]


def _outputs(blocks: list[Block], inputs: torch.Tensor) -> torch.Tensor:
    for index, (weight, bias) in enumerate(blocks):
        inputs = functional.linear(inputs, weight, bias)
        if index < len(blocks) - 1:
            inputs = functional.leaky_relu(inputs, 0.01)
    return inputs


def _loss(
    blocks: list[Block], inputs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    return functional.cross_entropy(_outputs(blocks, inputs), targets)


def _adam_step(blocks: list[Block]) -> Callable[..., float]:
    for block in blocks:
        for leaf in block:
            leaf.requires_grad_(True)
    optimizer = torch.optim.Adam([leaf for block in blocks for leaf in block], lr=1e-3)

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = _loss(blocks, inputs, targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _samt_step(blocks: list[Block]) -> Callable[..., float]:
    etas = [_eta_model() for _ in blocks]
    optimizers = [torch.optim.Adam(e.parameters(), lr=META_LEARNING_RATE) for e in etas]

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> float:
        first = 0.0
        meta = inputs[::2], targets[::2]
        for index, (eta, optimizer) in enumerate(zip(etas, optimizers, strict=True)):
            loss = _visit(blocks, index, eta, optimizer, (inputs, targets), meta)
            first = first if index else loss
        return first

    return step


def _eta_model() -> torch.nn.Module:
    last = torch.nn.Linear(ETA_WIDTH, 2)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return torch.nn.Sequential(
        torch.nn.Linear(NUM_FEATURES, ETA_WIDTH),
        torch.nn.LeakyReLU(),
        torch.nn.Linear(ETA_WIDTH, ETA_WIDTH),
        torch.nn.LeakyReLU(),
        last,
    )


def _visit(
    blocks: list[Block],
    index: int,
    eta: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[torch.Tensor, torch.Tensor],
    meta: tuple[torch.Tensor, torch.Tensor],
) -> float:
    """One visit; whatever is not finite leaves block and eta model as they were."""
    block = [leaf.requires_grad_(True) for leaf in blocks[index]]
    loss = _loss(blocks, *batch)
    grads = torch.autograd.grad(loss, block)
    for leaf in block:
        leaf.requires_grad_(False)
    raw = eta(_features(grads))
    mixing_weight, unit_proposal = torch.sigmoid(2 * raw)
    step_size = (
        mixing_weight * LEARNING_RATE
        + (1 - mixing_weight) * unit_proposal * PROPOSAL_MAX
    )
    candidate = [
        torch.addcmul(leaf, step_size, grad, value=-1)
        for leaf, grad in zip(block, grads, strict=True)
    ]
    tried = [*blocks[:index], candidate, *blocks[index + 1 :]]
    meta_loss = _loss(tried, *meta)
    meta_grads = torch.autograd.grad(meta_loss, list(eta.parameters()))
    checked = [loss, meta_loss, raw, *meta_grads, *candidate]
    if all(bool(torch.isfinite(tensor).all()) for tensor in checked):
        for parameter, grad in zip(eta.parameters(), meta_grads, strict=True):
            parameter.grad = grad
        optimizer.step()
        blocks[index] = [leaf.detach() for leaf in candidate]
    return loss.item()


def _features(grads: tuple[torch.Tensor, ...]) -> torch.Tensor:
    flat = torch.cat([grad.flatten() for grad in grads])
    variance, mean = torch.var_mean(flat)
    low, high = torch.aminmax(flat)
    features = torch.stack([mean, variance, high, low, torch.linalg.vector_norm(flat)])
    scale = 1e-8
    return features.sign() * torch.log1p(features.abs() / scale) / np.log1p(1 / scale)
