"""What is trained: data, parameters and a loss, as one value that the loop can run.

A problem says nothing of how it is trained. :func:`supervised` makes one of a data set
and a model; any other (a quadratic in a test, a toy in a notebook) is written by hand.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from samt_jax.base import Batch, Key, LossFn, Params, Scalar
from samt_jax.chain import Chain, Layer

ModelState: TypeAlias = PyTree
Measures = dict[str, Float[Array, " b"]]


class Problem(NamedTuple):
    """What is trained and how it is judged.

    Attributes:
      init: ``init(key) -> (params, model_state)``.
      loss_fn: ``loss_fn(params, batch) -> scalar``, a mean over the batch.
      train: The training set, examples along the first axis of every leaf.
      evaluation: What the parameters are judged on, by name: `"validation"`, `"test"`.
      measure: ``measure(params, model_state, batch) -> {name: one number an example}``;
        the loss is called `"loss"`.
      summarise: Means of these over a part → what is reported of it.
      update_model_state: ``update_model_state(params, model_state, batch) ->
        model_state``, called once a step with the new parameters: batch statistics.

    Example:
      >>> data = jnp.arange(8.0)
      >>> problem = Problem(
      ...     init=lambda key: (jnp.zeros(()), ()),
      ...     loss_fn=lambda params, batch: jnp.mean((params - batch) ** 2),
      ...     train=data,
      ...     evaluation={"test": data},
      ...     measure=lambda params, _, batch: {"loss": (params - batch) ** 2},
      ... )
      >>> float(problem.loss_fn(jnp.float32(3.5), problem.train))
      5.25
    """

    init: Callable[[Key], tuple[Params, ModelState]]
    loss_fn: LossFn
    train: Batch
    evaluation: Mapping[str, Batch]
    measure: Callable[[Params, ModelState, Batch], Measures]
    summarise: Callable[[dict[str, Scalar]], dict[str, Scalar]] = lambda means: means
    update_model_state: Callable[[Params, ModelState, Batch], ModelState] = (
        lambda params, model_state, batch: model_state
    )


class _Model(Protocol):
    """What is asked of a model; `models.Model` is one."""

    @property
    def init(self) -> Callable[..., tuple[Params, ModelState]]: ...
    @property
    def apply(self) -> Callable[..., Array]: ...
    @property
    def predict(self) -> Callable[..., Array]: ...
    @property
    def update_model_state(self) -> Callable[..., ModelState]: ...
    @property
    def layers(self) -> tuple[Layer, ...] | None: ...
    @property
    def prepare(self) -> Callable[..., Array]: ...


def supervised(dataset: Any, model: _Model) -> Problem:
    """Makes a problem of a data set and a model.

    Classification takes the softmax cross-entropy (in nats) and reports the share of
    examples whose largest output is the label's, regression the squared error and its
    root mean. Arrays go to the default device here.

    Args:
      dataset: A data set of :func:`samt_jax.data.load`, or anything with its fields
        `task`, `train`, `validation` and `test`.
      model: A model of :func:`samt_jax.models.build_model`, or anything with its
        functions.

    Returns:
      The problem; its batches are pairs ``(inputs, targets)``, its evaluation parts are
      `"validation"` and `"test"`, its measures `"loss"` and `"accuracy"` (from 0 to 1)
      or `"rmse"` (in the unit of the targets).

    Raises:
      ValueError: The task is unknown, or the data cannot be trained on: a part without
        examples, an input that is not finite, a label that the model has no output for.
        The first one is named with its index and value.

    Example:
      >>> from samt_jax.data import load
      >>> from samt_jax.models import build_model
      >>> dataset = load("digits")
      >>> model = build_model("mlp", num_outputs=dataset.num_outputs, hidden=(20,))
      >>> problem = supervised(dataset, model)
      >>> inputs, targets = problem.evaluation["test"]
      >>> inputs.shape, targets.shape
      ((360, 8, 8, 1), (360,))
    """
    if dataset.task not in _LOSSES:
        raise ValueError(
            f"The task is {dataset.task!r}; it must be one of "
            f"{', '.join(map(repr, _LOSSES))}."
        )
    losses, measure, summarise = _LOSSES[dataset.task]
    for name in ("train", "validation", "test"):
        inputs, targets = getattr(dataset, name)
        check_examples(name, inputs, targets, dataset.task)
    train = jax.device_put(tuple(dataset.train))
    if dataset.task == "classification":
        _check_labels(dataset, model, train[0][:1])

    def measure_fn(params: Params, model_state: ModelState, batch: Batch) -> Measures:
        inputs, targets = batch
        return measure(model.predict(params, model_state, inputs), targets)

    return Problem(
        init=lambda key: model.init(key, train[0][:1]),
        loss_fn=_loss_fn(model, losses),
        train=train,
        evaluation={
            "validation": jax.device_put(tuple(dataset.validation)),
            "test": jax.device_put(tuple(dataset.test)),
        },
        measure=measure_fn,
        summarise=summarise,
        update_model_state=lambda params, model_state, batch: model.update_model_state(
            params, model_state, batch[0]
        ),
    )


def check_examples(name: str, inputs: Any, targets: Any, task: str) -> None:
    """Refuses examples that a loss would take in silence and learn nonsense from.

    Args:
      name: What the part is called.
      inputs: Examples along the first axis.
      targets: Likewise.
      task: `"classification"` or `"regression"`.

    Raises:
      ValueError: One sentence: which part, which index, which value, what is allowed.

    Example:
      >>> import numpy as np
      >>> check_examples("test", np.ones((2, 3)), np.array([0, -1]), "classification")
      Traceback (most recent call last):
      ValueError: test label 1 is -1; labels are whole numbers from 0.
    """
    inputs, targets = np.asarray(inputs), np.asarray(targets)
    if not len(inputs) or len(inputs) != len(targets):
        raise ValueError(
            f"the {name} part has {len(inputs):,} inputs and {len(targets):,} targets; "
            "there must be as many, and at least one."
        )
    _check_finite(f"{name} input", inputs)
    if task == "regression":
        _check_finite(f"{name} target", targets)
        return
    is_whole = np.issubdtype(targets.dtype, np.integer)
    bad = np.flatnonzero(targets < 0) if is_whole else np.arange(1)
    if bad.size:
        raise ValueError(
            f"{name} label {bad[0]} is {targets[bad[0]]}; labels are whole numbers "
            "from 0."
        )


def _check_finite(what: str, numbers: np.ndarray) -> None:
    if not np.issubdtype(numbers.dtype, np.inexact) or np.isfinite(numbers).all():
        return
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
    raise ValueError(
        f"{what} {list(index)} is {numbers[index]}; mend or leave out what is not a "
        "finite number."
    )


def _check_labels(dataset: Any, model: _Model, inputs: Array) -> None:
    """Every label must have an output; the loss would give the others a number too."""

    def outputs_of(inputs: Array) -> Array:
        return model.apply(model.init(jax.random.key(0), inputs)[0], inputs)

    num_outputs = jax.eval_shape(outputs_of, inputs).shape[-1]
    for name in ("train", "validation", "test"):
        labels = np.asarray(getattr(dataset, name)[1])
        bad = np.flatnonzero(labels >= num_outputs)
        if bad.size:
            raise ValueError(
                f"{name} label {bad[0]} is {labels[bad[0]]}; the model has "
                f"{num_outputs} outputs, for labels from 0 to {num_outputs - 1}."
            )


def _loss_fn(model: _Model, losses: Callable[[Array, Array], Array]) -> LossFn:
    """The mean loss: a chain where the model is one, for engines that know chains."""
    if model.layers is not None:
        # mypy does not see that a NamedTuple with `__call__` can be called.
        return Chain(model.layers, losses, model.prepare)  # type: ignore[return-value]

    def loss_fn(params: Params, batch: Batch) -> Scalar:
        inputs, targets = batch
        return jnp.mean(losses(model.apply(params, inputs), targets))

    return loss_fn


def cross_entropy(logits: Array, labels: Array) -> Float[Array, " b"]:
    """The softmax cross-entropy of each example, in nats."""
    # By products, not by indices: those gather and scatter, once a pass, and a small
    # network's step is no longer than a few of these.
    classes = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return optax.softmax_cross_entropy(logits, classes)


def _measure_classes(logits: Array, labels: Array) -> Measures:
    correct = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return {"loss": cross_entropy(logits, labels), "accuracy": correct}


def squared_error(outputs: Array, targets: Array) -> Float[Array, " b"]:
    """The squared error of each example, summed over its outputs."""
    return jnp.sum(optax.squared_error(outputs, targets), axis=-1)


def _measure_values(outputs: Array, targets: Array) -> Measures:
    return {"loss": squared_error(outputs, targets)}


def _add_root(means: dict[str, Scalar]) -> dict[str, Scalar]:
    return means | {"rmse": jnp.sqrt(means["loss"])}


_LOSSES: dict[str, tuple[Callable, Callable, Callable]] = {
    "classification": (cross_entropy, _measure_classes, lambda means: means),
    "regression": (squared_error, _measure_values, _add_root),
}
