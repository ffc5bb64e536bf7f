import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st

from samt_jax.image_ops import convolve, pool
from samt_jax.models import build_model


def plain(images, kernel, strides, padding):
    """XLA's convolution."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=dimensions
    )


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


sizes = st.integers(1, 3)
pairs = st.tuples(sizes, sizes)
paddings = st.sampled_from(["SAME", "VALID"]) | st.tuples(pairs, pairs)


class TestConvolve:
    @given(pairs, pairs, paddings, st.tuples(st.integers(1, 8), st.integers(1, 8)))
    def test_it_is_that_of_xla(self, window, strides, padding, size):
        images, kernel = normal(0, 2, *size, 2), normal(1, *window, 2, 3)
        expected = plain(images, kernel, strides, padding)
        found = convolve(images, kernel, strides, padding)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
    def test_its_gradients_are(self, strides):
        images, kernel = normal(0, 2, 7, 6, 2), normal(1, 3, 3, 2, 4)

        def grads_of(convolution):
            def loss(images, kernel):
                return (convolution(images, kernel, strides, "SAME") ** 3).sum()

            return jax.grad(loss, (0, 1))(images, kernel)

        for found, expected in zip(grads_of(convolve), grads_of(plain), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)

    def test_it_can_be_differentiated_forward_and_mapped(self):
        images, kernels = normal(0, 2, 5, 5, 2), normal(1, 3, 3, 3, 2, 4)

        def tangents_of(convolution):
            def along(kernel):
                def outputs(images):
                    return convolution(images, kernel, (1, 1), "VALID")

                return jax.jvp(outputs, (images,), (images**2,))

            return jax.vmap(along)(kernels)

        found, expected = tangents_of(convolve), tangents_of(plain)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("name", ["cnn", "resnet18", "vgg11"])
    def test_networks_train_without_xlas_on_a_cpu_and_with_it_elsewhere(self, name):
        model = build_model(name, num_outputs=3, width=1 / 32)
        images = jnp.ones((2, 32, 32, 3))
        params, _ = jax.eval_shape(model.init, jax.random.key(0), images)

        def train(params):
            grads = jax.grad(lambda params: model.apply(params, images).sum())
            return jax.lax.fori_loop(0, 2, lambda _, params: grads(params), params)

        traced = jax.jit(train).trace(params)
        for platform, is_used in (("cpu", False), ("cuda", True)):
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            assert ("stablehlo.convolution" in text) == is_used, platform


class TestPool:
    @pytest.mark.parametrize("size", [(4, 6), (5, 7)])
    def test_it_is_that_of_flax(self, size):
        images = normal(0, 3, *size, 2)
        expected = nn.max_pool(images, (2, 2), strides=(2, 2))
        np.testing.assert_array_equal(pool(images), expected)

    def test_the_largest_has_the_gradient_and_equal_ones_share_it(self):
        images = jnp.array([[1.0, 3.0, 5.0, 5.0], [2.0, 0.0, 4.0, 5.0]])
        grads = jax.grad(lambda images: pool(images).sum())(images[None, :, :, None])
        third = 1 / 3
        expected = [[0.0, 1.0, third, third], [0.0, 0.0, 0.0, third]]
        np.testing.assert_allclose(grads[0, :, :, 0], expected)
