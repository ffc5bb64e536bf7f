import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import assert_close, assert_same_bits

from samt_jax import spread_step_sizes, step_layout, step_sizes
from samt_jax.step_size import squash_outputs

DENSE = {"dense/kernel": jnp.ones((3, 2)), "dense/bias": jnp.ones(2)}
CONV = {"conv/kernel": jnp.ones((5, 5, 3, 2)), "conv/bias": jnp.ones(2)}
LINEAR = {"fc/weight": jnp.ones((2, 3)), "fc/bias": jnp.ones(2)}
CONV_FIRST = {"conv/weight": jnp.ones((2, 3, 5, 5)), "conv/bias": jnp.ones((2, 1, 1))}
LAYOUTS = {
    "scalar": step_layout(DENSE, "scalar"),
    "row": step_layout(DENSE, "row"),
    "column": step_layout(DENSE, "column"),
    "element-factored": step_layout(DENSE, "element"),
    "element-dense": step_layout(DENSE, "element", element_head="dense"),
    "own": step_layout(DENSE, lambda path, shape: (*(1 for _ in shape[1:]), shape[-1])),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
raw_numbers = st.floats(-1e6, 1e6, width=32)


def spread(layout, raw_mixing_weight, raw_proposal, learning_rate=0.1, **settings):
    heads = step_sizes(raw_mixing_weight, raw_proposal, layout, learning_rate,
                       **settings)  # fmt: skip
    return spread_step_sizes(heads, layout)


def constant(layout, number):
    return jnp.full(layout.num_steps, number, jnp.float32)


def shapes(values, granularity, **settings):
    layout = step_layout(values, granularity, **settings)
    spread_out = spread(layout, constant(layout, 0), constant(layout, 0))
    return {path.rpartition("/")[2]: s.shape for path, s in spread_out.items()}


@pytest.mark.parametrize(
    ("values", "granularity", "kernel", "bias"),
    [
        (DENSE, "scalar", (), ()),
        (DENSE, "row", (1, 2), (2,)),
        (DENSE, "column", (3, 1), ()),
        (DENSE, "element", (3, 2), (2,)),
        (CONV, "scalar", (), ()),
        (CONV, "row", (1, 1, 1, 2), (2,)),
        (CONV, "column", (1, 1, 3, 1), ()),
        (CONV, "element", (5, 5, 3, 2), (2,)),
        (LINEAR, "row", (2, 1), (2,)),
        (LINEAR, "column", (1, 3), ()),
        (CONV_FIRST, "row", (2, 1, 1, 1), (2, 1, 1)),
        (CONV_FIRST, "column", (1, 3, 1, 1), ()),
        (CONV_FIRST, "element", (2, 3, 5, 5), (2, 1, 1)),
    ],
)
def test_a_row_is_an_output_unit_and_a_column_an_input_unit(
    values, granularity, kernel, bias
):
    for element_head in ("factored", "dense"):
        found = shapes(values, granularity, element_head=element_head)
        assert sorted(found.values()) == sorted([kernel, bias])
        assert found["bias"] == bias


def test_layout_of_a_kernel_can_be_told():
    kernel = {"w": jnp.ones((2, 3))}
    assert shapes(kernel, "row", kernel_layout="in_out") == {"w": (1, 3)}
    assert shapes(kernel, "row", kernel_layout="out_in") == {"w": (2, 1)}
    assert shapes(kernel, "row") == {"w": (1, 3)}


@pytest.mark.parametrize(
    ("layout", "num_steps"),
    [("scalar", 1), ("row", 2), ("column", 3), ("element-factored", 3 + 2 + 2),
     ("element-dense", 6 + 2), ("own", 2 + 2)],
)  # fmt: skip
def test_the_eta_model_gives_as_many_pairs_as_there_are_step_sizes(layout, num_steps):
    assert LAYOUTS[layout].num_steps == num_steps


def test_a_layer_without_a_kernel_has_a_step_size_a_unit():
    norm = {"norm/scale": jnp.ones(4), "norm/bias": jnp.ones(4)}
    for granularity in ("row", "column"):
        layout = step_layout(norm, granularity)
        assert layout.num_steps == 4
        steps = spread(layout, constant(layout, 0), jnp.arange(4.0))
        assert_same_bits(steps["norm/scale"], steps["norm/bias"])


def test_every_layer_of_a_grouped_block_has_its_own_rows():
    grouped = DENSE | {"last/kernel": jnp.ones((2, 4)), "last/bias": jnp.ones(4)}
    layout = step_layout(grouped, "row")
    steps = spread(layout, jnp.zeros(6), jnp.arange(6.0))
    assert_same_bits(steps["dense/kernel"].reshape(2), steps["dense/bias"])
    assert_same_bits(steps["last/kernel"].reshape(4), steps["last/bias"])
    assert len(np.unique(np.concatenate([steps["dense/bias"], steps["last/bias"]]))) > 4


def test_a_bias_belongs_to_the_kernel_with_as_many_rows():
    layer = {
        "rnn/hidden": jnp.ones((5, 5)),
        "rnn/input": jnp.ones((2, 7)),
        "rnn/shift": jnp.ones(7),
    }
    layout = step_layout(layer, "row")
    assert layout.leaves["rnn/shift"].head == layout.leaves["rnn/input"].head
    assert layout.leaves["rnn/shift"].shape == (7,)


def test_a_bias_of_a_layer_by_column_takes_the_mean_of_the_columns():
    layout = LAYOUTS["column"]
    steps = spread(layout, jnp.zeros(3), jnp.array([-1.0, 0.0, 2.0]))
    mean = np.mean(steps["dense/kernel"], dtype=np.float32)
    np.testing.assert_allclose(steps["dense/bias"], mean, rtol=1e-6)


def test_step_size_by_hand():
    # sigmoid(0) = 1/2 and sigmoid(log 3) = 3/4: 3/4 * 0.1 + 1/4 * (2 * 1/2).
    (head,) = step_sizes(
        jnp.log(jnp.array([3.0])), jnp.zeros(1), LAYOUTS["scalar"], 0.1,
        squash="sigmoid", proposal_max=2.0,
    )  # fmt: skip
    np.testing.assert_allclose(head.mixing_weight[0], 0.75, rtol=1e-6)
    np.testing.assert_allclose(head.proposal[0], 1.0, rtol=1e-6)
    np.testing.assert_allclose(head.step_size, 0.325, rtol=1e-6)


def test_a_factored_step_size_is_composed_of_geometric_means():
    # Rows (last axis): 0.25 and 1; the rest: 0.25, 0.25 and 0.04, both outputs alike.
    rows, rest = np.array([0.25, 1.0]), np.array([0.25, 0.25, 0.04])
    bias = np.array([0.5, 0.5])
    layout = step_layout({"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}, "element")
    raw = jnp.array(np.concatenate([rows, rest, bias]), jnp.float32)
    heads = step_sizes(raw, raw, layout, 0.1, squash=lambda x: x, proposal_max=2.0)
    # By hand, entry (2, 0): the root of 0.04 * 0.25 is 0.1;
    # 0.1 * 0.1 + (1 - 0.1) * (2 * 0.1) = 0.19.
    means = np.sqrt(rest[:, None] * rows[None, :])
    expected = 0.1 * means + (1 - means) * 2 * means
    np.testing.assert_allclose(expected[2, 0], 0.19)
    np.testing.assert_allclose(heads[0].step_size, expected, rtol=1e-6)
    np.testing.assert_allclose(heads[1].step_size, [0.55, 0.55], rtol=1e-6)


@given(raw_numbers, raw_numbers, st.floats(0, 2), st.floats(0.01, 2))
@pytest.mark.parametrize("squash", ["tanh", "sigmoid"])
@layouts
def test_a_step_size_lies_between_learning_rate_and_proposal(
    layout, squash, one, other, learning_rate, proposal_max
):
    mixed = jnp.linspace(one, other, layout.num_steps)
    heads = step_sizes(mixed, mixed[::-1], layout, learning_rate, squash=squash,
                       proposal_max=proposal_max)  # fmt: skip
    for head in heads:
        beta = np.asarray(
            math.prod(head.mixing_weight[1:], start=head.mixing_weight[0])
        )
        proposal = np.asarray(math.prod(head.proposal[1:], start=head.proposal[0]))
        assert np.all((beta >= 0) & (beta <= 1))
        assert np.all((proposal >= 0) & (proposal <= proposal_max * (1 + 1e-6)))
        slack = 1e-6 * max(learning_rate, proposal_max)
        low = np.minimum(learning_rate, proposal) - slack
        high = np.maximum(learning_rate, proposal) + slack
        assert np.all((head.step_size >= low) & (head.step_size <= high))


@given(raw_numbers)
def test_tanh_is_a_sigmoid_twice_as_steep(raw):
    tanh = squash_outputs(jnp.float32(raw), "tanh")
    np.testing.assert_allclose(tanh, jax.nn.sigmoid(2 * jnp.float32(raw)), atol=2e-7)


def test_sigmoid_is_the_logistic_function():
    raw = jnp.array([-2.0, 0.0, 1.0])
    expected = 1 / (1 + np.exp(-np.asarray(raw)))
    np.testing.assert_allclose(squash_outputs(raw, "sigmoid"), expected, rtol=1e-6)
    np.testing.assert_array_equal(squash_outputs(raw, jnp.square), raw**2)


@pytest.mark.parametrize("squash", ["tanh", "sigmoid"])
@layouts
def test_no_nan_in_value_or_gradient_at_a_million(layout, squash):
    def total(raws):
        steps = spread(layout, *raws, squash=squash)
        return sum(jnp.sum(leaf) for leaf in steps.values())

    value_and_grad = jax.jit(jax.value_and_grad(total))
    size = layout.num_steps
    alternating = jnp.where(jnp.arange(size) % 2 == 0, 1e6, -1e6)
    for ends in [(1e6, 1e6), (1e6, -1e6), (-1e6, 1e6), (-1e6, -1e6), (0, 0)]:
        for raws in (
            tuple(jnp.full(size, end, jnp.float32) for end in ends),
            (alternating, alternating[::-1]),
        ):
            value, grads = value_and_grad(raws)
            assert np.isfinite(value)
            assert all(np.all(np.isfinite(g)) for g in grads)


@pytest.mark.parametrize("terms", ["both", "left", "right"])
def test_granularities_agree_when_outputs_are_constant(terms):
    expected = spread(
        LAYOUTS["scalar"], jnp.array([0.3]), jnp.array([-0.7]), terms=terms
    )
    for layout in LAYOUTS.values():
        steps = spread(layout, constant(layout, 0.3), constant(layout, -0.7),
                       terms=terms)  # fmt: skip
        for path, leaf in DENSE.items():
            step = np.broadcast_to(steps[path], leaf.shape)
            np.testing.assert_allclose(step, expected[path], rtol=1e-6)


@layouts
def test_mixing_weight_one_is_the_learning_rate_to_the_bit(layout):
    raws = constant(layout, 0.3), constant(layout, -0.7)
    steps = spread(layout, *raws, learning_rate=0.1, mixing_weight=1.0)
    for step in steps.values():
        assert_same_bits(step, np.full(step.shape, 0.1, np.float32))


@layouts
def test_a_fixed_mixing_weight_by_hand(layout):
    # A quarter of 0.1, and three quarters of 0.5 * 1/2.
    raws = constant(layout, 0.3), constant(layout, 0.0)
    steps = spread(layout, *raws, mixing_weight=0.25, proposal_max=0.5)
    for step in steps.values():
        np.testing.assert_allclose(step, 0.025 + 0.1875, rtol=1e-6)


@layouts
def test_mixing_weight_zero_is_the_proposal(layout):
    raws = constant(layout, 0.3), constant(layout, -0.7)
    steps = spread(layout, *raws, mixing_weight=0.0, proposal_max=0.5)
    proposal = 0.5 * squash_outputs(jnp.float32(-0.7), "tanh")
    for step in steps.values():
        np.testing.assert_allclose(step, proposal, rtol=1e-6)


@layouts
@pytest.mark.parametrize("mixing_weight", [None, 0.25])
def test_both_terms_are_the_left_and_the_right_one(layout, mixing_weight):
    raws = jnp.linspace(-1, 1, layout.num_steps), jnp.linspace(2, 0, layout.num_steps)
    settings = {"mixing_weight": mixing_weight, "proposal_max": 0.7}
    left, right, both = (
        spread(layout, *raws, terms=terms, **settings)
        for terms in ("left", "right", "both")
    )
    assert_close(jax.tree.map(jnp.add, left, right), both)


def test_left_and_right_by_hand():
    # β = η̂ = 1/2: left 1/2 * 0.1, right (1 - 1/2) * 1/2.
    zero = jnp.zeros(1)
    steps = [
        step_sizes(zero, zero, LAYOUTS["scalar"], 0.1, terms=terms)[0].step_size
        for terms in ("left", "right")
    ]
    np.testing.assert_allclose(steps, [0.05, 0.25], rtol=1e-6)


def test_a_user_may_shape_step_sizes_by_a_function():
    layout = step_layout(DENSE, lambda path, shape: (3, 1) if "kernel" in path else ())
    steps = spread(layout, jnp.zeros(4), jnp.arange(4.0))
    assert steps["dense/kernel"].shape == (3, 1)
    assert steps["dense/bias"].shape == ()
    assert len({*np.ravel(steps["dense/kernel"]), float(steps["dense/bias"])}) == 4


def test_stages_do_not_change_dtypes_silently(strict_promotion):
    for layout in LAYOUTS.values():
        steps = spread(layout, constant(layout, 0), constant(layout, 0))
        assert {step.dtype for step in steps.values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: step_layout(DENSE, "rows"),
            "granularity is 'rows'; it must be one of 'scalar', 'row', 'column', 'ele",
        ),
        (
            lambda: step_layout(DENSE, "element", element_head="full"),
            "element_head is 'full'; it must be one of 'factored', 'dense'",
        ),
        (
            lambda: step_layout(DENSE, "row", kernel_layout="io"),
            "kernel_layout is 'io'; it must be one of 'auto', 'in_out', 'out_in'",
        ),
        (
            lambda: step_layout(DENSE, lambda path, shape: (7,)),
            r"gave the shape \(7,\) for the leaf 'dense/kernel'.*to \(3, 2\); return",
        ),
        (
            lambda: step_layout(DENSE, lambda path, shape: (2, *shape)),
            r"gave the shape \(2, 3, 2\).*does not broadcast to \(3, 2\)",
        ),
        (
            lambda: squash_outputs(jnp.zeros(1), "relu"),
            "squash is 'relu'; it must be one of 'tanh', 'sigmoid'",
        ),
        (
            lambda: spread(LAYOUTS["scalar"], jnp.zeros(1), jnp.zeros(1), terms="no"),
            "terms is 'no'; it must be one of 'both', 'left', 'right'",
        ),
    ],
)
def test_bad_settings_are_told_what_is_allowed(make, said):
    with pytest.raises(ValueError, match=said):
        make()
