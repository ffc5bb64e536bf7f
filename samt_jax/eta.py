"""The eta model: features of a gradient → mixing weight and proposed step size.

The paper's eta model (§3.2) is a three-layer perceptron of width 64. It gives two raw
numbers for every step size that the block's granularity asks for; squashing them into
their ranges is the next stage's work.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# How a block's eta model is made once the number of its step sizes is known.
EtaModel = Callable[[int], nn.Module]


class EtaMLP(nn.Module):
    """The paper's eta model: a perceptron of three layers.

    The last layer starts at zero, so that training starts from a known step size:
    mixing weight ½ and the middle of the proposal's range, whatever the features.

    Any Flax Linen module can stand in its place that takes the features and returns two
    arrays of shape ``(num_steps,)``.

    Attributes:
      num_steps: Step sizes to give, one pair of raw outputs for each.
      width: Width of the two hidden layers.
      param_dtype: Dtype of the weights.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = EtaMLP(num_steps=3)
      >>> meta_params = model.init(jax.random.key(0), jnp.ones(5))
      >>> raw_mixing_weight, raw_proposal = model.apply(meta_params, jnp.ones(5))
      >>> raw_proposal
      Array([0., 0., 0.], dtype=float32)

    Reference:
      Yan et al., arXiv 2508.04193, §3.2; activation and initialisation are not stated
      there.
    """

    num_steps: int
    width: int = 64
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "k"]
    ) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
        """Maps features to raw mixing weights and raw proposals, each ``(n,)``."""
        dense = nn.Dense
        hidden = features
        for _ in range(2):
            hidden = dense(self.width, param_dtype=self.param_dtype)(hidden)
            hidden = nn.leaky_relu(hidden)
        raw = dense(
            2 * self.num_steps,
            kernel_init=nn.initializers.zeros_init(),
            param_dtype=self.param_dtype,
        )(hidden)
        return raw[: self.num_steps], raw[self.num_steps :]
