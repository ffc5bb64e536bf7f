import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from problems import assert_same_bits

from samt_jax import (
    Block,
    BlockTable,
    get_block,
    order_by_first_use,
    partition_blocks,
    replace_block,
)
from samt_jax.blocks import leaf_paths, visiting_order

LAYER = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
TWELVE = tuple(range(12))
X = jnp.ones((4, 2))


def params_of(*names):
    return {name: LAYER for name in names}


def stack(*names):
    """A loss that uses layers in this order."""

    def value_fn(params):
        hidden = X
        for name in names:
            hidden = hidden @ params[name]["kernel"] + params[name]["bias"][None]
        return jnp.mean(hidden)

    return value_fn


def order_of(value_fn, params):
    table = partition_blocks(params, value_fn=value_fn)
    assert table.ordered_by == "first use in the loss"
    return table.names


# Partition.


def test_a_layer_is_a_block_kernel_and_bias_together():
    table = partition_blocks(params_of("Dense_0", "Dense_1"))
    paths = ("Dense_0/bias", "Dense_0/kernel")
    assert table.blocks[0] == Block("Dense_0", paths)
    assert table.names == ("Dense_0", "Dense_1")
    assert table.frozen == ()


def test_without_a_loss_blocks_come_in_natural_order():
    table = partition_blocks(params_of(*(f"Dense_{i}" for i in reversed(TWELVE))))
    assert table.names == tuple(f"Dense_{i}" for i in TWELVE)
    assert table.ordered_by == "natural key order"


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ([LAYER, [LAYER, {"w": jnp.ones(2)}]], ("0", "1/0", "1/1")),
        ({"a": {"b": {"c": LAYER}, "d": LAYER}}, ("a/b/c", "a/d")),
        ({"w": jnp.ones(2), "b": jnp.ones(1)}, ("b", "w")),
        ((jnp.ones(2), None, {"x": ()}, jnp.ones(1)), ("0", "3")),
    ],
)
def test_nested_dicts_lists_and_tuples_become_blocks(params, names):
    table = partition_blocks(params)
    assert table.names == names
    held = [path for block in table.blocks for path in block.paths]
    assert sorted(held) == sorted(leaf_paths(params))


def test_shapes_stand_for_arrays():
    params = params_of("a", "b")
    assert partition_blocks(jax.eval_shape(lambda: params)) == partition_blocks(params)


def test_rules_by_regular_expression_group_layers():
    params = params_of("conv_1", "conv_2", "head")
    rules = {"trunk": "conv_.*", "top": ["head/kernel", "head/bias"]}
    table = partition_blocks(params, rules)
    assert table.names == ("trunk", "top")
    assert len(table.blocks[0].paths) == 4


def test_a_rule_for_dense_1_is_no_rule_for_dense_10():
    params = params_of("Dense_1", "Dense_10")
    table = partition_blocks(params, {"one": "Dense_1", "ten": "Dense_10"})
    assert table.blocks[0].paths == ("Dense_1/bias", "Dense_1/kernel")


def test_a_depth_keeps_together_what_lies_deeper():
    convolution = {"Conv_0": params_of("x")["x"], "Norm_0": params_of("x")["x"]}
    params = {"Layer_1": {"A": convolution, "B": convolution}, "Layer_10": convolution}
    params |= params_of("Layer_2")
    names = ("Layer_1", "Layer_2", "Layer_10")
    assert partition_blocks(params, 1).names == names
    assert partition_blocks(params, 2).names == (
        "Layer_1/A", "Layer_1/B", "Layer_2", "Layer_10/Conv_0", "Layer_10/Norm_0",
    )  # fmt: skip
    assert partition_blocks(params, 9) == partition_blocks(params)
    with pytest.raises(ValueError, match="blocks is 0; a depth in the tree is at lea"):
        partition_blocks(params, 0)


def test_rules_by_function_group_and_freeze():
    rule = {"a": "first", "b": "first", "c": None, "d": "last"}
    table = partition_blocks(
        params_of("a", "b", "c", "d"), lambda path: rule[path.split("/")[0]]
    )
    assert table.names == ("first", "last")
    assert table.frozen == ("c/bias", "c/kernel")


@pytest.mark.parametrize("frozen", ["a", ["a/bias", "a/kernel"], ("a/.*",)])
def test_frozen_leaves_belong_to_no_block(frozen):
    table = partition_blocks(params_of("a", "b"), frozen=frozen)
    assert table.names == ("b",)
    assert table.frozen == ("a/bias", "a/kernel")


def test_frozen_leaves_need_no_rule_and_may_be_of_any_dtype():
    params = params_of("a") | {"steps": jnp.zeros((), jnp.int32)}
    table = partition_blocks(params, {"all": "a"}, frozen="steps")
    assert table.names == ("all",)


def test_a_table_is_taken_as_it_is():
    params = params_of("a", "b")
    table = partition_blocks(params, value_fn=stack("b", "a"))
    assert partition_blocks(params, table) is table


@pytest.mark.parametrize(
    ("rules", "frozen", "said"),
    [
        ({"a": "a"}, (), "leaf 'b/bias' no block's rule matches; .*frozen='b/bias'"),
        ({"x": ".*", "y": "b"}, (), r"leaf 'b/bias' the blocks \['x', 'y'\] all mat"),
        ({"a": "a|b", "c": "c"}, (), r"blocks \['c'\] match none of the leaves \['a/b"),
        ({"x": "a|b", "y": "b"}, "b", r"blocks \['y'\] match none of the leaves"),
        (None, ".*", r"No block is left: .*'a/bias', .* leave at least one out of"),
        (lambda path: None, (), "No block is left"),
        (None, "c", r"frozen patterns \['c'\] match none of the leaves \['a/bias'"),
        (None, ["a", "b/kernels"], r"patterns \['b/kernels'\] match none"),
        (None, "[", r"pattern '\[' is no regular expression \(unterminated .*; give"),
        ({"a": "a", "b": "*"}, (), r"pattern '\*' is no regular expression \(nothing"),
    ],
)
def test_bad_rules_are_told_which_paths(rules, frozen, said):
    with pytest.raises(ValueError, match=said):
        partition_blocks(params_of("a", "b"), rules, frozen=frozen)


def test_a_leaf_that_is_no_float_is_refused_by_path():
    params = params_of("a") | {"steps": jnp.zeros((), jnp.int32)}
    with pytest.raises(ValueError, match=r"'steps' has dtype int32.*frozen='steps'"):
        partition_blocks(params)


def test_two_leaves_that_read_alike_are_refused_by_path():
    params = {"a/b": LAYER, "a": {"b": {"kernel": jnp.ones(3)}}}
    with pytest.raises(ValueError, match=r"paths \['a/b/kernel'\], and a block knows"):
        partition_blocks(params)


def test_a_table_of_other_parameters_is_refused_by_path():
    table = partition_blocks(params_of("a", "c"))
    with pytest.raises(
        ValueError, match=r"\['c/bias', 'c/kernel'\] are no .*'b/kernel"
    ):
        partition_blocks(params_of("a", "b"), table)
    with pytest.raises(ValueError, match=r"table says itself.*frozen"):
        partition_blocks(params_of("a", "c"), table, frozen="a")


# Cutting out and putting back.


def test_a_block_put_back_is_the_tree_to_the_bit():
    params = {"a": [jnp.array([-0.0, 1.0]), jnp.ones(2)], "b": jnp.float32(3)}
    block = Block("x", ("a/0", "b"))
    assert_same_bits(replace_block(params, get_block(params, block)), params)


def test_replacing_a_block_changes_that_block_alone():
    params = {"a": [1.0, 2.0], "b": 3.0}
    assert replace_block(params, {"a/1": 5.0}) == {"a": [1.0, 5.0], "b": 3.0}
    assert params == {"a": [1.0, 2.0], "b": 3.0}


# Order by first use.


def test_order_is_that_of_the_network_whatever_the_names():
    params = params_of("z", "y", "a", "Dense_10", "Dense_2")
    for names in (("z", "Dense_10", "a", "Dense_2", "y"), ("a", "y", "z", "Dense_2",
                                                           "Dense_10")):  # fmt: skip
        assert order_of(stack(*names), params) == names


@pytest.mark.parametrize("decay", ["python", "array", "traced"])
def test_weight_decay_written_before_the_forward_pass_is_no_use(decay):
    names, params = ("z", "m", "a"), params_of("z", "m", "a")

    def value_fn(params, rate):
        penalty = sum(
            rate * jnp.sum(params[name]["kernel"] ** 2) for name in reversed(names)
        )
        shrunk = jax.tree.map(lambda w: w * (1 - rate), params)
        return penalty + stack(*names)(shrunk)

    def ordered(rate):
        found.append(order_of(lambda params: value_fn(params, rate), params))
        return rate

    found = []
    if decay == "traced":
        jax.jit(ordered)(0.1)
    else:
        ordered(0.1 if decay == "python" else jnp.float32(0.1))
    assert found == [names]


def wrapped_in(kind, value_fn):
    return {
        "jit": jax.jit(value_fn),
        "remat": jax.checkpoint(value_fn),
        "jit of remat": jax.jit(jax.checkpoint(jax.jit(value_fn))),
        "scan": lambda p: jax.lax.scan(
            lambda carry, _: (carry + value_fn(p), None), 0.0, None, length=2
        )[0],
        "cond": lambda p: jax.lax.cond(p["a"]["bias"][0] > 0, value_fn, value_fn, p),
        "cast": lambda p: value_fn(jax.tree.map(lambda w: w.astype(jnp.bfloat16), p)),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["jit", "remat", "jit of remat", "scan", "cond", "cast"]
)
def test_a_wrapped_loss_shows_its_order(kind):
    params = params_of("a", "m", "z")
    value_fn = wrapped_in(kind, stack("z", "a", "m"))
    assert order_of(value_fn, params) == ("z", "a", "m")


def test_scanned_layers_stand_where_the_scan_stands():
    stacked = {"kernel": jnp.ones((3, 2, 2))}
    params = {"first": LAYER, "body": stacked, "about": LAYER}

    def value_fn(params):
        hidden = X @ params["first"]["kernel"]
        hidden, _ = jax.lax.scan(
            lambda h, w: (jnp.tanh(h @ w), None), hidden, params["body"]["kernel"]
        )
        return jnp.mean(hidden @ params["about"]["kernel"])

    assert order_of(value_fn, params) == ("first", "body", "about")


def test_blocks_that_never_meet_data_come_last_in_order_of_use():
    params = {"z": jnp.float32(1.0), "a": jnp.float32(2.0), "net": LAYER}

    def value_fn(params):
        return params["z"] * params["a"] + stack("net")({"net": params["net"]})

    assert order_of(value_fn, params) == ("net", "a", "z")
    scalars = {"z": jnp.float32(1.0), "a": jnp.float32(2.0)}
    assert order_of(lambda p: (2 * p["z"] - 1) * p["a"], scalars) == ("z", "a")


def test_ordering_never_runs_the_loss():
    def value_fn(params):
        jax.debug.callback(lambda: ran.append(1))
        return stack("a", "b")(params)

    ran = []
    order_of(value_fn, params_of("a", "b"))
    jax.effects_barrier()
    assert not ran


def test_the_table_keeps_its_blocks_when_ordered():
    params = params_of("a", "b", "c")
    table = partition_blocks(params, {"x": "a|c", "y": "b"})
    ordered = order_by_first_use(table, stack("b", "a", "c"), params)
    assert ordered.names == ("y", "x")
    assert set(ordered.blocks) == set(table.blocks)


# The libraries' own networks, twelve layers whose names sort wrongly.

BACKWARD_NAMES = tuple(f"layer_{chr(ord('l') - i)}" for i in TWELVE)


def test_twelve_layers_of_linen_are_in_forward_order(key):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in TWELVE:
                x = nn.tanh(nn.Dense(2)(x))
            return x

    variables = Net().init(key, X)
    expected = tuple(f"params/Dense_{i}" for i in TWELVE)
    assert partition_blocks(variables).names == expected
    value_fn = lambda v: jnp.mean(Net().apply(v, X))  # noqa: E731 - one line, used twice.
    assert order_of(value_fn, variables) == expected
    assert order_of(jax.jit(value_fn), variables) == expected


def test_twelve_layers_of_nnx_are_in_forward_order(key):
    class Net(nnx.Module):
        def __init__(self, rngs):
            for name in BACKWARD_NAMES:
                setattr(self, name, nnx.Linear(2, 2, rngs=rngs))

        def __call__(self, x):
            for name in BACKWARD_NAMES:
                x = nnx.tanh(getattr(self, name)(x))
            return x

    graph, state = nnx.split(Net(nnx.Rngs(0)), nnx.Param)
    names = order_of(lambda s: jnp.mean(nnx.merge(graph, s)(X)), state)
    assert names == BACKWARD_NAMES
    assert partition_blocks(state).names == BACKWARD_NAMES[::-1]
    table = partition_blocks(state)
    assert table.blocks[0].paths == ("layer_a/bias", "layer_a/kernel")
    block = get_block(state, table.blocks[0])
    assert_same_bits(replace_block(state, block), state)


def test_twelve_layers_of_equinox_are_in_forward_order(key):
    class Net(eqx.Module):
        zs: list
        first: eqx.nn.Linear

        def __init__(self, key):
            keys = jax.random.split(key, len(TWELVE))
            self.first = eqx.nn.Linear(2, 2, key=keys[0])
            self.zs = [eqx.nn.Linear(2, 2, key=k) for k in keys[1:]]

        def __call__(self, x):
            for layer in (self.first, *self.zs):
                x = jnp.tanh(layer(x))
            return x

    arrays, static = eqx.partition(Net(key), eqx.is_inexact_array)

    def value_fn(arrays):
        return jnp.mean(jax.vmap(eqx.combine(arrays, static))(X))

    expected = ("first", *(f"zs/{i}" for i in range(11)))
    assert order_of(value_fn, arrays) == expected
    table = partition_blocks(arrays)
    assert table.blocks[-1].paths == ("zs/10/bias", "zs/10/weight")


# Orders of visits.

TABLE = BlockTable(tuple(Block(name, (name,)) for name in "zab"), (), "")


@pytest.mark.parametrize(
    ("order", "indices"),
    [("forward", (0, 1, 2)), ("backward", (2, 1, 0)), (["b", "z", "a"], (2, 0, 1)),
     (("z", "a", "b"), (0, 1, 2)), ("random", None)],
)  # fmt: skip
def test_orders_of_visits(order, indices):
    assert visiting_order(TABLE, order) == indices


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("upward", "'upward' is unknown; it is 'forward', 'backward', 'random' or a"),
        (["z", "a"], r"\['z', 'a'\] does not name every block once.*\['z', 'a', 'b'\]"),
        (["z", "a", "b", "b"], "does not name every block once"),
        (["z", "a", "c"], "does not name every block once"),
    ],
)
def test_an_unknown_order_is_told_what_is_allowed(order, said):
    with pytest.raises(ValueError, match=said):
        visiting_order(TABLE, order)


def test_paths_join_with_a_slash():
    assert leaf_paths({"a": [0.0, {"b": 1.0}]}) == ["a/0", "a/1/b"]
    np.testing.assert_equal(len(leaf_paths({})), 0)


def test_an_empty_leaf_is_left_out():
    some, none = jnp.ones(2), jnp.zeros((0, 2))
    table = partition_blocks({"a": {"e": none, "w": some}, "b": {"e": none}})
    assert [block.paths for block in table.blocks] == [("a/w",)]
    assert table.frozen == ("a/e", "b/e")
