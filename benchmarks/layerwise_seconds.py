"""Seconds an iteration of layer-wise methods, beside a plain NumPy rendering of them.

    python -m benchmarks.layerwise_seconds [METHOD ...]

MNIST, 784-h-10 with ReLUs, 55,000 images, full batches, float32. The rendering does the
same arithmetic in the same order as the methods' descriptions have it: backtracking by
trial, every product computed where it is needed. Both run in turns in one process; a
JSON line a width and method says the median seconds, and by how much the networks
differ after the iterations, for the rendering is of the same step. Lines go to
`benchmarks/results/layerwise_seconds.jsonl`.
"""

import json
import pathlib
import statistics
import sys
import time
from typing import Any

import jax
import numpy as np

from benchmarks.layerwise_rivals import METHODS, _problem
from benchmarks.trials import machine
from samt_jax import Batches
from samt_jax.optimizers import make_optimizer

RESULTS = pathlib.Path(__file__).parent / "results" / "layerwise_seconds.jsonl"
WIDTHS, NUM_STEPS = (100, 400), 3
Arrays = dict[str, Any]


def minimise_outputs(center: Any, weight: float, u: Any, codes: Any, z: Any) -> Any:
    """Damped Newton steps on softmax cross-entropy plus the quadratic, by examples."""

    def value(z: Any) -> Any:
        relative, distance = z - z.max(axis=1, keepdims=True), z - center
        total = np.exp(relative).sum(axis=1)
        pull = (u + weight / 2 * distance) * distance - codes * relative
        return np.log(total) + pull.sum(axis=1)

    step = np.ones(len(z), np.float32)
    for _ in range(100):
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        gradient = p - codes + u + weight * (z - center)
        size = 1 + weight * np.abs(z - center).max(axis=1)
        open_ = np.abs(gradient).max(axis=1) > 4e-6 * size
        open_ &= step >= 1e-9
        if not open_.any():
            break
        scaled, share = gradient / (p + weight), p / (p + weight)
        along = (p * scaled).sum(axis=1) / (weight * share.sum(axis=1))
        direction = scaled + share * along[:, None]
        slope, old = (gradient * direction).sum(axis=1), value(z)
        trial = z - step[:, None] * direction
        falls = value(trial) <= old - 1e-4 * step * slope + 1e-6 * (1 + np.abs(old))
        z = np.where((falls & open_)[:, None], trial, z)
        step = np.where(falls, np.minimum(2 * step, 1), step / 2)
    return z


def backtrack(phi: Any, x: Any, gradient: Any, start: float) -> Any:
    """A gradient step whose curvature is doubled until the step is below the model."""
    first, squares, theta = phi(x), np.sum(gradient**2), start
    while True:
        trial = x - gradient / theta
        slack = 1e-6 * abs(first)
        if phi(trial) <= first - squares / (2 * theta) + slack:
            return trial
        theta *= 2


def move_kernel(
    v: Arrays, layer: int, inputs: Any, target: Any, c: float, decay: float = 0.0
) -> None:
    """The gradient step on W of ``c/2 ‖inputs W + b - target‖² + decay/2 ‖W‖²``."""
    w, b = v["W"][layer], v["b"][layer]

    def phi(w: Any) -> Any:
        squares = np.sum((inputs @ w + b - target) ** 2)
        return c / 2 * squares + decay / 2 * np.sum(w**2)

    gradient = c * inputs.T @ (inputs @ w + b - target) + decay * w
    v["W"][layer] = backtrack(phi, w, gradient, 1.0)


def dladmm_step(v: Arrays, x: Any, codes: Any, c: float = 1e-6) -> None:
    """One iteration with one hidden layer, both penalties equal."""

    def target(layer: int) -> Any:
        return v["z"][layer] + (v["u"] / c if layer else 0)

    def kernel(layer: int) -> None:
        move_kernel(v, layer, v["a"] if layer else x, target(layer), c)

    def bias(layer: int) -> None:
        inputs = v["a"] if layer else x
        v["b"][layer] = np.mean(target(layer) - inputs @ v["W"][layer], axis=0)

    def outputs() -> None:
        center = v["a"] @ v["W"][1] + v["b"][1]
        v["z"][1] = minimise_outputs(center, c, v["u"], codes, v["z"][1])

    def activations() -> None:
        hidden, w, b, t = np.maximum(v["z"][0], 0), v["W"][1], v["b"][1], target(1)

        def phi(a: Any) -> Any:
            squares = np.sum((a @ w + b - t) ** 2) + np.sum((a - hidden) ** 2)
            return c / 2 * squares

        gradient = c * ((v["a"] @ w + b - t) @ w.T + v["a"] - hidden)
        v["a"] = backtrack(phi, v["a"], gradient, 1.0)

    def hidden() -> None:
        m, a = x @ v["W"][0] + v["b"][0], v["a"]
        above, below = np.maximum((m + a) / 2, 0), np.minimum(m, 0)
        costs = (above - m) ** 2 + (a - above) ** 2 <= (below - m) ** 2 + a**2
        v["z"][0] = np.where(costs, above, below)

    outputs(), bias(1), kernel(1), activations(), hidden(), bias(0), kernel(0)
    kernel(0), bias(0), hidden(), activations(), kernel(1), bias(1), outputs()
    v["u"] = v["u"] + c * (v["z"][1] - v["a"] @ v["W"][1] - v["b"][1])


def mdlam_step(v: Arrays, x: Any, codes: Any, c: float = 1e-3) -> None:
    """One iteration with one hidden layer, without acceleration."""
    for layer in range(2):
        inputs = v["a"] if layer else x
        move_kernel(v, layer, inputs, v["z"][layer], c, decay=0.05)
        v["b"][layer] = np.mean(v["z"][layer] - inputs @ v["W"][layer], axis=0)
        center = inputs @ v["W"][layer] + v["b"][layer]
        if layer:
            v["z"][1] = minimise_outputs(center, c, v["u"], codes, v["z"][1])
            continue
        low, high = v["a"] - v["tolerance"], v["a"] + v["tolerance"]
        v["z"][0] = np.clip(center, np.where(low > 0, low, -np.inf), high)
        hidden, residual = np.maximum(v["z"][0], 0), v["a"] @ v["W"][1] + v["b"][1]
        residual -= v["z"][1]
        gradient, tau = c * residual @ v["W"][1].T, 1.0
        low, high = hidden - v["tolerance"], hidden + v["tolerance"]
        while True:
            change = np.clip(v["a"] - gradient / tau, low, high) - v["a"]
            curved = c * np.sum((change @ v["W"][1]) ** 2)
            if curved <= tau * np.sum(change**2):
                break
            tau *= 2
        v["a"] = v["a"] + change
    v["tolerance"] = max(v["tolerance"] / 2, 1e-3)


def fit_hidden(v: Arrays, c: float, d: float, center: Any) -> None:
    """The hidden ``c (z - center)² + d (a - relu(z))²``, entry by entry."""
    a = v["a"][0]
    above, below = np.maximum((c * center + d * a) / (c + d), 0), np.minimum(center, 0)
    costs = [c * (z - center) ** 2 for z in (above, below)]
    is_above = costs[0] + d * (a - above) ** 2 <= costs[1] + d * a**2
    v["z"][0] = np.where(is_above, above, below)


def bcd_step(v: Arrays, x: Any, codes: Any, alpha: float = 5.0) -> None:
    """One iteration of three-splitting with one hidden layer, both penalties 1."""
    z, a, w, b = v["z"], v["a"], v["W"], v["b"]

    def weights(layer: int, inputs: Any) -> None:
        right = alpha * w[layer] + inputs.T @ (z[layer] - b[layer])
        ridge = alpha * np.eye(inputs.shape[1], dtype=np.float32)
        w[layer] = np.linalg.solve(ridge + inputs.T @ inputs, right)
        left = np.sum(z[layer] - inputs @ w[layer], axis=0)
        b[layer] = (alpha * b[layer] + left) / (len(inputs) + alpha)

    a[1] = (codes + z[1] + alpha * a[1]) / (2 + alpha)
    z[1] = (a[1] + a[0] @ w[1] + b[1]) / 2
    weights(1, a[0])
    square = w[1] @ w[1].T + np.eye(len(w[1]), dtype=np.float32)
    right = (z[1] - b[1]) @ w[1].T + np.maximum(z[0], 0)
    a[0] = np.linalg.solve(square, right.T).T
    center = (x @ w[0] + b[0] + alpha * z[0]) / (1 + alpha)
    fit_hidden(v, 1 + alpha, 1.0, center)
    weights(0, x)


def scaleadmm_step(
    v: Arrays, x: Any, codes: Any, c: float = 1.0, d: float = 10
) -> None:
    """One iteration with one hidden layer and the hinge loss, while warming up."""
    z, a, w, b = v["z"], v["a"], v["W"], v["b"]

    def weights(layer: int, inputs: Any) -> Any:
        inputs = np.hstack([inputs, np.ones((len(inputs), 1), np.float32)])
        square = inputs.T @ inputs
        ridge = np.float32(1e-4 * np.trace(square) / len(square))
        square += ridge * np.eye(len(square), dtype=np.float32)
        solution = np.linalg.solve(square, inputs.T @ z[layer])
        w[layer], b[layer] = solution[:-1], solution[-1]
        return inputs @ solution

    beyond = (w[1], b[1]) if v["count"] else (0 * w[1], 0 * b[1])
    center = weights(0, x)
    square = c * beyond[0] @ beyond[0].T + d * np.eye(len(w[1]), dtype=np.float32)
    right = c * (z[1] - beyond[1]) @ beyond[0].T + d * np.maximum(z[0], 0)
    a[0] = np.linalg.solve(square, right.T).T
    fit_hidden(v, c, d, center)
    m = weights(1, a[0])
    up = np.where(m > 1, m, np.minimum(m + 1 / (2 * c), 1))
    down = np.where(m < 0, m, np.maximum(m - 1 / (2 * c), 0))
    z[1] = np.where(codes == 1, up, down)
    v["count"] += 1


def start_from_state(params: Any, x: Any, codes: Any, state: Any) -> Arrays:
    """The variables before the first iteration, from the method's own state."""
    return {
        "W": [np.array(params[f"Dense_{i}"]["kernel"]) for i in range(2)],
        "b": [np.array(params[f"Dense_{i}"]["bias"]) for i in range(2)],
        "z": [np.array(z) for z in state.preactivations],
        "a": [np.array(a) for a in state.activations],
        "count": 0,
    }


def start_numpy(params: Any, x: Any, codes: Any, state: Any) -> Arrays:
    """The variables before the first iteration, from a forward pass."""
    w = [np.array(params[f"Dense_{i}"]["kernel"]) for i in range(2)]
    b = [np.array(params[f"Dense_{i}"]["bias"]) for i in range(2)]
    z = x @ w[0] + b[0]
    return {
        "W": w,
        "b": b,
        "z": [z, 2 * codes - 1],
        "a": np.maximum(z, 0),
        "u": np.zeros_like(codes),
        "tolerance": 100.0,
    }


RENDERED: dict[str, tuple[str, dict[str, Any], Any, Any]] = {
    "dlADMM": ("dladmm", {}, dladmm_step, start_numpy),
    "mDLAM": ("mdlam", {"accelerate": False}, mdlam_step, start_numpy),
    "BCD": ("bcd", {}, bcd_step, start_from_state),
    "scaleADMM": ("scaleadmm", {}, scaleadmm_step, start_from_state),
}


def measure(name: str, width: int) -> dict[str, Any]:
    """Medians of both over the same iterations, in turns."""
    optimizer, settings, numpy_step, start = RENDERED[name]
    problem = _problem("mnist", width, METHODS[name].start)
    inputs, labels = problem.train
    x = np.array(inputs).reshape(len(inputs), -1)
    codes = np.eye(10, dtype=np.float32)[np.array(labels)]
    params, _ = problem.init(jax.random.key(0))
    batches, key = Batches(problem.train), jax.random.key(0)
    make_algorithm = make_optimizer(optimizer, **settings)
    algorithm = make_algorithm(problem.loss_fn, key, NUM_STEPS)
    state = jax.jit(algorithm.init)(params, batches, key)
    step = jax.jit(algorithm.step).lower(params, state, batches, key).compile()
    variables = start(params, x, codes, state)
    seconds: dict[str, list[float]] = {"samt_jax": [], "numpy": []}
    for _ in range(NUM_STEPS):
        started = time.perf_counter()
        params, state, _ = jax.block_until_ready(step(params, state, batches, key))
        seconds["samt_jax"].append(time.perf_counter() - started)
        started = time.perf_counter()
        numpy_step(variables, x, codes)
        seconds["numpy"].append(time.perf_counter() - started)
    difference = [
        float(np.max(np.abs(variables["W"][i] - params[f"Dense_{i}"]["kernel"])))
        for i in range(2)
    ]
    medians = {who: statistics.median(each) for who, each in seconds.items()}
    return {
        "method": name,
        "settings": settings,
        "hidden": width,
        "seconds": medians,
        "all_seconds": seconds,
        "times_faster": medians["numpy"] / medians["samt_jax"],
        "largest_difference_of_kernels": difference,
        **machine(),
    }


if __name__ == "__main__":
    for width in WIDTHS:
        for name in sys.argv[1:] or RENDERED:
            text = json.dumps(measure(name, width))
            print(text, flush=True)
            with RESULTS.open("a") as file:
                file.write(text + "\n")
