import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from samt_jax.image_ops import pool
from samt_jax.models import MODELS, build_model
from samt_jax.networks import flatten, uniform_fan_in

# Normalized networks at a sixteenth (4 to 32 channels): they compile in seconds.
SMALL = {"width": 1 / 16, "num_outputs": 3}


def count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def shapes_of(name, inputs, **settings):
    model = build_model(name, **settings)
    return jax.eval_shape(model.init, jax.random.key(0), jnp.ones(inputs))


@pytest.fixture(scope="module")
def normalized():
    """A small ResNet, its variables and a batch of images."""
    model = build_model("resnet18", **SMALL)
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3)) + 1.0
    params, model_state = jax.jit(model.init)(jax.random.key(0), images)
    # Compiled once for all tests: op by op, every call compiles each operation anew.
    compiled = model._replace(
        apply=jax.jit(model.apply),
        predict=jax.jit(model.predict),
        update_model_state=jax.jit(model.update_model_state),
    )
    return compiled, params, model_state, images


class TestShapesAndCounts:
    def test_mlp_has_one_dense_layer_a_width(self):
        params, state = shapes_of("mlp", (1, 28, 28, 1), num_outputs=10, hidden=(20,))
        # 784·20 + 20 + 20·10 + 10 = 15,680 + 20 + 200 + 10
        assert count(params) == 15_910
        assert params["Dense_0"]["kernel"].shape == (784, 20)
        assert state == {}

    def test_mlp_without_bias_has_kernels_only(self):
        params, _ = shapes_of(
            "mlp", (1, 784), num_outputs=10, hidden=(20,), use_bias=False
        )
        # 784·20 + 20·10
        assert count(params) == 15_880

    def test_mlp_without_hidden_layers_is_linear(self):
        params, _ = shapes_of("mlp", (1, 5), num_outputs=2, hidden=())
        assert list(params) == ["Dense_0"]
        # 5·2 + 2
        assert count(params) == 12

    def test_cnn_has_the_layers_of_the_paper_on_cifar(self):
        params, _ = shapes_of("cnn", (1, 32, 32, 3), num_outputs=10)
        # 3·9·32+32 = 896; 32·9·64+64 = 18,496; 8·8·64·128+128 = 524,416;
        # 128·10+10 = 1,290
        assert count(params) == 545_098

    def test_cnn_width_multiplies_every_hidden_layer(self):
        params, _ = shapes_of("cnn", (1, 28, 28, 1), num_outputs=10, width=0.5)
        # 9·16+16 = 160; 16·9·32+32 = 4,640; 7·7·32·64+64 = 100,416; 64·10+10 = 650
        assert count(params) == 105_866

    def test_resnet18_has_the_known_count_for_cifar10(self):
        params, _ = shapes_of("resnet18", (1, 32, 32, 3), num_outputs=10)
        # Stem 3·9·64 + 2·64 = 1,856. Stages of four 3×3 convolutions with norms:
        # 64: 4·(64·64·9 + 128) = 147,968
        # 128: 64·128·9 + 3·128·128·9 + 64·128 + 5·256 = 525,568
        # 256: 128·256·9 + 3·256·256·9 + 128·256 + 5·512 = 2,099,712
        # 512: 256·512·9 + 3·512·512·9 + 256·512 + 5·1024 = 8,393,728
        # Dense 512·10 + 10 = 5,130
        assert count(params) == 11_173_962

    def test_vgg11_has_eight_convolutions_and_one_dense_layer(self):
        params, _ = shapes_of("vgg11", (1, 32, 32, 3), num_outputs=10)
        # Kernels 9·(3·64 + 64·128 + 128·256 + 256·256 + 256·512 + 3·512·512)
        # = 9,217,728; norms 2·(64 + 128 + 2·256 + 4·512) = 5,504; dense 5,130
        assert count(params) == 9_228_362

    @pytest.mark.parametrize("name", MODELS)
    def test_outputs_have_one_row_an_example(self, name):
        settings = {"hidden": (4,), "num_outputs": 3} if name == "mlp" else SMALL
        model = build_model(name, **settings)
        images = jnp.ones((2, 32, 32, 3))
        params, state = jax.eval_shape(model.init, jax.random.key(0), images)
        assert jax.eval_shape(model.apply, params, images).shape == (2, 3)
        assert jax.eval_shape(model.predict, params, state, images).shape == (2, 3)


class TestOrder:
    def test_twelve_layers_are_named_in_forward_order(self):
        params, _ = shapes_of("mlp", (1, 7), num_outputs=2, hidden=range(10, 21))
        widths = [params[f"Dense_{i}"]["kernel"].shape[1] for i in range(12)]
        assert widths == [*range(10, 21), 2]

    @pytest.mark.parametrize("name", ["resnet18", "vgg11"])
    def test_normalized_layers_are_numbered_in_forward_order(self, name):
        # The order in which the forward pass first reads each kernel.
        model = build_model(name, **SMALL)
        images = jnp.ones((1, 32, 32, 3))
        params, _ = jax.eval_shape(model.init, jax.random.key(0), images)
        names = [
            "/".join(key.key for key in path)
            for path, _ in jax.tree_util.tree_leaves_with_path(params)
        ]
        jaxpr = jax.make_jaxpr(model.apply)(params, images).jaxpr
        first = {id(var): len(jaxpr.eqns) for var in jaxpr.invars}
        for i, equation in reversed(list(enumerate(jaxpr.eqns))):
            first |= {id(var): i for var in equation.invars if id(var) in first}
        layers = [name.partition("/")[0] for name in names]
        reads = dict.fromkeys(layers, len(jaxpr.eqns))
        for layer, var in zip(layers, jaxpr.invars, strict=False):
            reads[layer] = min(reads[layer], first[id(var)])
        assert sorted(reads, key=reads.__getitem__) == [
            f"Layer_{i}" for i in range(len(reads))
        ]


class TestFormulas:
    def test_mlp_is_dense_leaky_dense(self):
        model = build_model("mlp", num_outputs=1, hidden=(2,), negative_slope=0.1)
        params = {
            "Dense_0": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.zeros(2)},
            "Dense_1": {"kernel": jnp.array([[2.0], [3.0]]), "bias": jnp.ones(1)},
        }
        # 5 → (5, −5) → (5, −0.5) → 2·5 − 3·0.5 + 1 = 9.5
        assert float(model.apply(params, jnp.array([[5.0]]))[0, 0]) == 9.5

    def test_cnn_is_the_chain_that_its_module_states(self):
        model = build_model("cnn", num_outputs=3, width=1 / 16)
        images = jax.random.normal(jax.random.key(1), (2, 8, 8, 2))
        params, state = model.init(jax.random.key(0), images)

        def conv(x, layer):
            dimensions = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(
                x, layer["kernel"], (1, 1), "SAME", dimension_numbers=dimensions
            )
            return x + layer["bias"][None, None, None]

        def dense(x, layer):
            return x @ layer["kernel"] + layer["bias"][None]

        # Here leaky ReLU comes before the pool, as it is usually written.
        x = pool(nn.leaky_relu(conv(images, params["Conv_0"])))
        x = pool(nn.leaky_relu(conv(x, params["Conv_1"])))
        x = nn.leaky_relu(dense(flatten(x), params["Dense_0"]))
        expected = dense(x, params["Dense_1"])
        np.testing.assert_allclose(model.apply(params, images), expected, rtol=1e-5)
        np.testing.assert_array_equal(
            model.apply(params, images), model.predict(params, state, images)
        )


class TestInitializers:
    def test_default_is_uniform_within_one_over_root_fan_in(self):
        model = build_model("cnn", num_outputs=50)
        params, _ = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
        fan_in = {"Conv_0": 27, "Conv_1": 288, "Dense_0": 256, "Dense_1": 128}
        for name, layer in params.items():
            bound = fan_in[name] ** -0.5
            for leaf in layer.values():
                largest = float(jnp.abs(leaf).max())
                assert 0.8 * bound < largest <= bound
            # A uniform variable in ±b has the standard deviation b/√3.
            np.testing.assert_allclose(layer["kernel"].std(), bound / 3**0.5, rtol=0.1)

    def test_initializers_can_be_chosen(self):
        model = build_model(
            "mlp",
            num_outputs=2,
            hidden=(3,),
            kernel_init=lambda fan_in: nn.initializers.constant(float(fan_in)),
            bias_init=lambda fan_in: nn.initializers.zeros,
        )
        params, _ = model.init(jax.random.key(0), jnp.ones((1, 5)))
        np.testing.assert_array_equal(params["Dense_0"]["kernel"], 5.0)
        np.testing.assert_array_equal(params["Dense_1"]["kernel"], 3.0)
        np.testing.assert_array_equal(params["Dense_0"]["bias"], 0.0)

    def test_keys_decide_the_weights(self):
        init = uniform_fan_in(9)
        first, same = (init(jax.random.key(0), (4,)) for _ in range(2))
        np.testing.assert_array_equal(first, same)
        assert not np.array_equal(first, init(jax.random.key(1), (4,)))


class TestBatchStatistics:
    def test_training_normalizes_with_the_batch(self, normalized):
        model, params, _, images = normalized
        # Scaling and shifting all images changes nothing after batch normalization: the
        # stem has no bias, and its mean and deviation move along (up to epsilon).
        changed = model.apply(params, 100.0 * images)
        np.testing.assert_allclose(
            model.apply(params, images), changed, rtol=0.02, atol=0.02
        )

    def test_prediction_normalizes_with_running_statistics(self, normalized):
        model, params, state, images = normalized
        together = model.predict(params, state, images)
        alone = model.predict(params, state, images[:1])
        np.testing.assert_allclose(together[:1], alone, rtol=1e-4, atol=1e-5)
        moved = model.update_model_state(params, state, images)
        later = model.predict(params, moved, images)
        assert not np.allclose(together, later, atol=1e-3)

    def test_running_statistics_move_by_a_tenth(self, normalized):
        model, params, state, images = normalized
        once = model.update_model_state(params, state, images)
        twice = model.update_model_state(params, once, images)
        start, first, second = (
            s["Layer_0"]["Norm_0"]["mean"] for s in (state, once, twice)
        )
        np.testing.assert_array_equal(start, 0.0)
        x = jax.lax.conv_general_dilated(
            images,
            params["Layer_0"]["Conv_0"]["kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        mean = x.mean(axis=(0, 1, 2))
        # From 0: 0.1 m after one move, 0.9 · 0.1 m + 0.1 m = 0.19 m after two.
        np.testing.assert_allclose(first, 0.1 * mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(second, 0.19 * mean, rtol=1e-4, atol=1e-6)

    def test_update_keeps_structure_and_dtypes(self, normalized):
        model, params, state, images = normalized
        moved = jax.eval_shape(model.update_model_state, params, state, images)
        assert jax.tree.map(jnp.shape, moved) == jax.tree.map(jnp.shape, state)
        assert jax.tree.map(jnp.dtype, moved) == jax.tree.map(
            lambda leaf: leaf.dtype, state
        )

    def test_gradients_pass_through_the_statistics_of_the_batch(self, normalized):
        model, params, _, images = normalized
        grads = jax.jit(
            jax.grad(lambda params: jnp.mean(model.apply(params, images) ** 2))
        )(params)
        norms = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads)]
        assert np.isfinite(norms).all() and min(norms) > 0

    def test_networks_without_normalization_keep_an_empty_state(self):
        model = build_model("mlp", num_outputs=2, hidden=(3,))
        inputs = jnp.ones((1, 4))
        params, state = model.init(jax.random.key(0), inputs)
        assert state == model.update_model_state(params, state, inputs) == {}


class TestErrors:
    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"name": "lenet"}, "no model 'lenet'; choose one of mlp, cnn"),
            ({"name": "mlp", "num_outputs": 0}, "num_outputs is 0; give at least 1"),
            ({"name": "mlp", "width": 2.0}, "mlp takes hidden, got width=2.0"),
            ({"name": "cnn", "hidden": (4,)}, "cnn takes width, got hidden"),
            ({"name": "cnn", "width": 0.0}, "width is 0.0; give a positive"),
            ({"name": "cnn", "width": float("nan")}, "width is nan; give a positive"),
            ({"name": "mlp", "hidden": (4, 0)}, r"hidden is \(4, 0\); give every"),
        ],
    )
    def test_settings_that_make_no_network_are_refused(self, settings, sentence):
        with pytest.raises(ValueError, match=sentence):
            build_model(**{"num_outputs": 3} | settings)

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("cnn", (2, 17)),
            ("cnn", (2, 3, 8, 1)),
            ("resnet18", (2, 784)),
            ("vgg11", (2, 28, 28, 1)),
        ],
    )
    def test_inputs_of_another_kind_are_refused_with_what_is_allowed(self, name, shape):
        with pytest.raises(ValueError, match=f"{name} takes images .*mlp takes any"):
            shapes_of(name, shape, num_outputs=3)
