"""One iteration of the layer-wise methods in plain NumPy, as their descriptions go.

784-h-10 with ReLUs, full batches (BADM: one mini-batch): backtracking by trial, every
product computed where it is needed. `layerwise_seconds.py` holds them against the
library, both for their speed and for being the same step.
"""

from typing import Any

import numpy as np

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
    v: Arrays,
    layer: int,
    inputs: Any,
    target: Any,
    c: float,
    decay: float = 0.0,
    start: float = 1.0,
) -> None:
    """The gradient step on W of ``c/2 ‖inputs W + b - target‖² + decay/2 ‖W‖²``."""
    w, b = v["W"][layer], v["b"][layer]

    def phi(w: Any) -> Any:
        squares = np.sum((inputs @ w + b - target) ** 2)
        return c / 2 * squares + decay / 2 * np.sum(w**2)

    gradient = c * inputs.T @ (inputs @ w + b - target) + decay * w
    v["W"][layer] = backtrack(phi, w, gradient, start)


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

    # Backward through the layers, and forward.
    outputs()
    bias(1)
    kernel(1)
    activations()
    hidden()
    bias(0)
    kernel(0)
    kernel(0)
    bias(0)
    hidden()
    activations()
    kernel(1)
    bias(1)
    outputs()
    v["u"] = v["u"] + c * (v["z"][1] - v["a"] @ v["W"][1] - v["b"][1])


def accelerated_mdlam_step(v: Arrays, x: Any, codes: Any) -> None:
    """One iteration of mDLAM with one hidden layer: TIAM's with Nesterov's numbers."""
    momentum = v.get("momentum", 1.0)
    v["momentum"] = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
    ahead = (momentum - 1) / v["momentum"]
    tiam_step(v, x, codes, inertias=(ahead, ahead, 0.0))


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


def pdadmm_step(v: Arrays, x: Any, codes: Any, c: float = 1e-4) -> None:
    """One iteration with one hidden layer, both penalties equal."""
    w, b, z, q, u = v["W"], v["b"], v["z"], v["q"], v["u"]

    def phi(p: Any) -> Any:
        squares = np.sum((p @ w[1] + b[1] - z[1]) ** 2) + np.sum((p - q) ** 2)
        return c / 2 * squares + np.sum(u * p)

    p = v["a"][0]
    gradient = c * ((p @ w[1] + b[1] - z[1]) @ w[1].T + p - q) + u
    p = v["a"][0] = backtrack(phi, p, gradient, 10.0)
    for layer, inputs in enumerate((x, p)):
        move_kernel(v, layer, inputs, z[layer], c, start=10.0)
    for layer, inputs in enumerate((x, p)):
        b[layer] = np.mean(z[layer] - inputs @ w[layer], axis=0)
    middle, v["a"][0] = (x @ w[0] + b[0] + z[0]) / 2, q
    fit_hidden(v, 2.0, 1.0, middle)
    v["a"][0] = p
    z[1] = minimise_outputs(p @ w[1] + b[1], c, np.zeros_like(codes), codes, z[1])
    v["q"] = (c * p + u + c * np.maximum(z[0], 0)) / (2 * c)
    v["u"] = u + c * (p - v["q"])


def tiam_step(
    v: Arrays,
    x: Any,
    codes: Any,
    c: float = 1e-3,
    inertias: tuple[float, float, float] = (0.3, 0.3, 0.1),
) -> None:
    """One iteration with one hidden layer, a step that raises F tried without."""
    w, b, z, beyond = v["W"], v["b"], v["z"], inertias[2]
    v.setdefault("last", (w[0], w[1], v["a"]))
    last, v["last"] = v["last"], (w[0], w[1], v["a"])
    for layer in range(2):
        inputs = v["a"] if layer else x
        _tiam_kernel(v, layer, inputs, last[layer], c, inertias)
        b[layer] = b[layer] + (1 + beyond) * np.mean(
            z[layer] - inputs @ w[layer] - b[layer], axis=0
        )
        center = inputs @ w[layer] + b[layer]
        if layer:
            old = z[1]
            fitted = minimise_outputs(center, c, np.zeros_like(codes), codes, old)
            further = fitted + beyond * (fitted - old)
            values = [
                _losses(each, codes) + c / 2 * np.sum((each - center) ** 2, axis=1)
                for each in (further, old)
            ]
            z[1] = np.where((values[0] <= values[1])[:, None], further, fitted)
            continue
        low, high = v["a"] - v["tolerance"], v["a"] + v["tolerance"]
        low = np.where(low > 0, low, -np.inf)
        fitted = np.clip(center, low, high)
        z[0] = np.clip(fitted + beyond * (fitted - z[0]), low, high)
        _tiam_activations(v, last[2], c, inertias)
    v["tolerance"] = max(v["tolerance"] / 2, 1e-3)


def _losses(z: Any, codes: Any) -> Any:
    relative = z - z.max(axis=1, keepdims=True)
    return np.log(np.exp(relative).sum(axis=1)) - (codes * relative).sum(axis=1)


def _tiam_kernel(
    v: Arrays, layer: int, inputs: Any, last: Any, c: float, inertias: tuple
) -> None:
    w, b, z, decay = v["W"][layer], v["b"][layer], v["z"][layer], 0.05

    def phi(w: Any) -> Any:
        squares = np.sum((inputs @ w + b - z) ** 2)
        return c / 2 * squares + decay / 2 * np.sum(w**2)

    def step(p1: float, p2: float, p3: float) -> Any:
        point = w + p2 * (w - last)
        gradient = c * inputs.T @ (inputs @ point + b - z) + decay * point
        moved = p1 * (w - last) + backtrack(phi, point, gradient, 1.0) - point
        return w + (1 + p3) * moved

    trial = step(*inertias)
    v["W"][layer] = trial if phi(trial) <= phi(w) else step(0.0, 0.0, 0.0)


def _tiam_activations(v: Arrays, last: Any, c: float, inertias: tuple) -> None:
    w, b, z, a = v["W"][1], v["b"][1], v["z"][1], v["a"]
    hidden = np.maximum(v["z"][0], 0)
    low, high = hidden - v["tolerance"], hidden + v["tolerance"]

    def phi(a: Any) -> Any:
        return c / 2 * np.sum((a @ w + b - z) ** 2)

    def step(p1: float, p2: float, p3: float) -> Any:
        point, tau = a + p2 * (a - last), 1.0
        gradient = c * (point @ w + b - z) @ w.T
        while True:
            change = np.clip(point - gradient / tau, low, high) - point
            if c * np.sum((change @ w) ** 2) <= tau * np.sum(change**2):
                break
            tau *= 2
        moved = np.clip(a + p1 * (a - last) - gradient / tau, low, high)
        return np.clip(moved + p3 * (moved - a), low, high)

    trial = step(*inertias)
    v["a"] = trial if phi(trial) <= phi(a) else step(0.0, 0.0, 0.0)


def two_splitting_step(v: Arrays, x: Any, codes: Any, alpha: float = 5.0) -> None:
    """One iteration with one hidden layer, the penalty 1."""
    w, b, a = v["W"], v["b"], v["a"]
    m = a[0] @ w[1] + b[1]
    a[1] = (codes + m + alpha * a[1]) / (2 + alpha)
    _two_splitting_layer(v, 1, a[0], a[1] - m, alpha)
    below, m = np.maximum(x @ w[0] + b[0], 0), a[0] @ w[1] + b[1]
    square = w[1] @ w[1].T + np.eye(len(w[1]), dtype=np.float32)
    fitted = np.linalg.solve(square, ((a[1] - b[1]) @ w[1].T + below).T).T
    # Above is a linear layer, and so the fitted activations are the minimum.
    a[0] = fitted
    m = x @ w[0] + b[0]
    _two_splitting_layer(v, 0, x, (m > 0) * (a[0] - np.maximum(m, 0)), alpha)


def _two_splitting_layer(
    v: Arrays, layer: int, inputs: Any, wanted: Any, alpha: float
) -> None:
    w, b, a = v["W"][layer], v["b"][layer], v["a"][layer]
    ridge = alpha * np.eye(inputs.shape[1], dtype=np.float32)
    kernel = np.linalg.solve(ridge + inputs.T @ inputs, inputs.T @ wanted)
    left = np.sum(wanted - inputs @ kernel, axis=0)
    bias, step = left / (len(inputs) + alpha), 1.0
    squares = np.sum(kernel**2) + np.sum(bias**2)

    def value(step: float) -> Any:
        m = inputs @ (w + step * kernel) + b + step * bias
        m = m if layer else np.maximum(m, 0)
        return np.sum((a - m) ** 2) / 2 + alpha / 2 * step**2 * squares

    before = value(0.0)
    while value(step) > before * (1 + 5e-7):
        step /= 2
    v["W"][layer], v["b"][layer] = w + step * kernel, b + step * bias


def badm_step(
    v: Arrays, x: Any, codes: Any, penalty: float = 5.0, proximal: float = 45.0
) -> None:
    """One step with one hidden layer, four parts one after another."""
    parts = np.split(x, 4), np.split(codes, 4)
    weights = [*v["W"], *v["b"]]
    multipliers = v.setdefault("pi", [[0 * each for each in weights]] * 4)
    moved = [0 * each for each in weights]
    for part, (inputs, wanted) in enumerate(zip(*parts, strict=True)):
        z = inputs @ v["W"][0] + v["b"][0]
        hidden = np.maximum(z, 0)
        out = hidden @ v["W"][1] + v["b"][1]
        p = np.exp(out - out.max(axis=1, keepdims=True))
        delta = (p / p.sum(axis=1, keepdims=True) - wanted) / len(inputs)
        below = (delta @ v["W"][1].T) * (z > 0)
        grads = [
            inputs.T @ below,
            hidden.T @ delta,
            below.sum(axis=0),
            delta.sum(axis=0),
        ]
        moves = [
            -(g + pi) / (penalty + proximal)
            for g, pi in zip(grads, multipliers[part], strict=True)
        ]
        multipliers[part] = [
            pi + penalty * move
            for pi, move in zip(multipliers[part], moves, strict=True)
        ]
        moved = [
            total + (move + pi / penalty) / 4
            for total, move, pi in zip(moved, moves, multipliers[part], strict=True)
        ]
    kernels_and_biases = [w + m for w, m in zip(weights, moved, strict=True)]
    v["W"], v["b"] = kernels_and_biases[:2], kernels_and_biases[2:]


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
    v: Arrays,
    x: Any,
    codes: Any,
    c: float = 1.0,
    d: float = 10.0,
    warm_steps: int = 1,
) -> None:
    """One iteration with one hidden layer and the hinge loss."""
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
    m, multiplier = weights(1, a[0]), v.setdefault("u", np.zeros_like(codes))
    flat = m - multiplier / (2 * c)
    up = np.where(flat > 1, flat, np.minimum(flat + 1 / (2 * c), 1))
    down = np.where(flat < 0, flat, np.maximum(flat - 1 / (2 * c), 0))
    z[1] = np.where(codes == 1, up, down)
    if v["count"] >= warm_steps:
        v["u"] = multiplier + c * (z[1] - m)
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


def start_split(params: Any, x: Any, codes: Any, state: Any) -> Arrays:
    """The same, with layers' inputs that are split from outputs."""
    v = start_numpy(params, x, codes, state)
    return v | {"q": v["a"], "u": np.zeros_like(v["a"]), "a": [v["a"]]}


def start_weights(params: Any, x: Any, codes: Any, state: Any) -> Arrays:
    """Weights alone."""
    v = start_numpy(params, x, codes, state)
    return {"W": v["W"], "b": v["b"]}


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
