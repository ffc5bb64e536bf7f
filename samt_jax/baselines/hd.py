"""SGD-HD, SGDN-HD and Adam-HD: hypergradient descent with the field's directions.

Each is :func:`hypergradient_descent` with a direction d_t, and with a hyper-learning
rate of zero the optax method of the same name. Where the paper's text and the authors'
code differ (Adam-HD), the text is the default and the code a setting.

Reference: Baydin, Cornish, Martínez Rubio, Schmidt, Wood, "Online learning rate
adaptation with hypergradient descent", ICLR 2018, arXiv 1703.04782.
"""

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import PyTree

from samt_jax.base import Params
from samt_jax.baselines.hypergradient import Rule, hypergradient_descent


def sgd_hd(
    learning_rate: ArrayLike,
    hyper_learning_rate: ArrayLike,
    *,
    rule: Rule = "additive",
    weight_decay: ArrayLike = 0.0,
    final_learning_rate: ArrayLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """SGD with hypergradient descent: ``d_t = g_t``.

    ``α_t = α_{t-1} + κ <g_t, g_{t-1}>``: the learning rate grows while consecutive
    gradients agree and falls when they oppose each other.

    Args:
      learning_rate: α_0. The authors start from 1e-3.
      hyper_learning_rate: κ. The authors run 1e-3; it does not carry over to another
        loss, batch size or model. Zero is `optax.sgd`, bit for bit.
      rule: ``"additive"`` or ``"multiplicative"``.
      weight_decay: λ, added to the gradient before everything. The authors run 1e-4.
      final_learning_rate: α_∞ of the transition; see :func:`hypergradient_descent`.

    Returns:
      An optax transformation with a :class:`HypergradientState`.

    Raises:
      ValueError: An unknown rule, or a schedule for a learning rate.

    Example:
      >>> import jax, optax
      >>> from samt_jax.baselines import sgd_hd
      >>> params, tx = 1.0, sgd_hd(0.1, 0.1)
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update(jax.grad(lambda x: x**2 / 2)(params), state)
      ...     params = optax.apply_updates(params, updates)
      >>> round(float(state.learning_rate), 3), round(float(params), 3)
      (0.19, 0.729)

    Reference:
      Baydin et al., arXiv 1703.04782, SGD-HD.
    """
    return hypergradient_descent(
        optax.identity(),
        learning_rate,
        hyper_learning_rate,
        rule=rule,
        weight_decay=weight_decay,
        final_learning_rate=final_learning_rate,
    )


def sgdn_hd(
    learning_rate: ArrayLike,
    hyper_learning_rate: ArrayLike,
    momentum: ArrayLike = 0.9,
    *,
    nesterov: bool = True,
    rule: Rule = "additive",
    weight_decay: ArrayLike = 0.0,
    final_learning_rate: ArrayLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """SGD with momentum and hypergradient descent.

    ``v_t = μ v_{t-1} + g_t`` and ``d_t = g_t + μ v_t`` (Nesterov) or ``d_t = v_t``
    (heavy ball), then ``α_t = α_{t-1} + κ <g_t, d_{t-1}>``.

    Args:
      learning_rate: α_0. The authors start from 1e-3.
      hyper_learning_rate: κ. The authors run 1e-3. Zero is `optax.sgd` with this
        momentum, bit for bit.
      momentum: μ.
      nesterov: Whether to look ahead.
      rule: ``"additive"`` or ``"multiplicative"``.
      weight_decay: λ, added to the gradient before everything. The authors run 1e-4.
      final_learning_rate: α_∞ of the transition; see :func:`hypergradient_descent`.

    Returns:
      An optax transformation with a :class:`HypergradientState`.

    Raises:
      ValueError: An unknown rule, or a schedule for a learning rate.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax.baselines import sgdn_hd
      >>> tx = sgdn_hd(0.1, 0.1, momentum=0.5)
      >>> updates, state = tx.update(jnp.float32(2.0), tx.init(jnp.float32(0.0)))
      >>> float(state.last_direction), round(float(updates), 3)
      (3.0, -0.3)

    Reference:
      Baydin et al., arXiv 1703.04782, SGDN-HD.
    """
    return hypergradient_descent(
        optax.trace(momentum, nesterov),
        learning_rate,
        hyper_learning_rate,
        rule=rule,
        weight_decay=weight_decay,
        final_learning_rate=final_learning_rate,
    )


def adam_hd(
    learning_rate: ArrayLike,
    hyper_learning_rate: ArrayLike,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    rule: Rule = "additive",
    weight_decay: ArrayLike = 0.0,
    final_learning_rate: ArrayLike | None = None,
    tensor_by_tensor: bool = False,
    fold_epsilon: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Adam with hypergradient descent: ``d_t = m̂_t / (√v̂_t + ε)``.

    ``α_t = α_{t-1} + κ <g_t, d_{t-1}>``. The paper's text has one hypergradient for the
    whole parameter vector and ε beside the corrected root; the authors' code differs in
    both, and has each as a setting here.

    Args:
      learning_rate: α_0. The authors start from 1e-3.
      hyper_learning_rate: κ. The authors run 1e-7, and 1e-8 for VGG. Zero is
        `optax.adam`, bit for bit.
      b1: Decay of the first moment.
      b2: Decay of the second moment.
      eps: ε.
      rule: ``"additive"`` or ``"multiplicative"``.
      weight_decay: λ, added to the gradient before everything. The authors run 1e-4.
      final_learning_rate: α_∞ of the transition; see :func:`hypergradient_descent`.
      tensor_by_tensor: As the authors' code: each tensor's share of the hypergradient
        is added just before its step, so the result depends on the tensors' order
        (there the order of creation, here that of `jax.tree.leaves`).
      fold_epsilon: As the authors' code: ε is added to the root before its correction,
        ``d_t = √(1 - b2^t) / (1 - b1^t) · m_t / (√v_t + ε)``.

    Returns:
      An optax transformation with a :class:`HypergradientState`.

    Raises:
      ValueError: An unknown rule, a schedule for a learning rate, or a multiplicative
        rule tensor by tensor.

    Example:
      >>> import jax.numpy as jnp
      >>> from samt_jax.baselines import adam_hd
      >>> tx = adam_hd(1e-3, 1e-7)
      >>> updates, state = tx.update(jnp.float32(4.0), tx.init(jnp.float32(0.0)))
      >>> round(float(updates), 5)
      -0.001

    Reference:
      Baydin et al., arXiv 1703.04782, Adam-HD.
    """
    adam = _scale_by_folded_adam if fold_epsilon else optax.scale_by_adam
    return hypergradient_descent(
        adam(b1, b2, eps),
        learning_rate,
        hyper_learning_rate,
        rule=rule,
        weight_decay=weight_decay,
        final_learning_rate=final_learning_rate,
        tensor_by_tensor=tensor_by_tensor,
    )


def _scale_by_folded_adam(
    b1: ArrayLike, b2: ArrayLike, eps: ArrayLike
) -> optax.GradientTransformation:
    """Adam's ratio with ε beside the root that is not corrected yet.

    ``m̂ / (√v̂ + ε')`` with ``ε' = ε / √(1 - b2^t)`` is that ratio, and otherwise Adam's.
    """

    def update_fn(
        updates: PyTree, state: optax.ScaleByAdamState, params: Params | None = None
    ) -> tuple[PyTree, optax.ScaleByAdamState]:
        count = optax.safe_increment(state.count)
        folded_eps = eps / jnp.sqrt(1.0 - b2**count)
        return optax.scale_by_adam(b1, b2, folded_eps).update(updates, state, params)

    return optax.GradientTransformation(
        optax.scale_by_adam(b1, b2, eps).init, update_fn
    )
