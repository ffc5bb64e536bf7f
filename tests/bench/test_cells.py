"""The table of what is measured."""

from samt_jax.bench.cells import BASELINE, Method, networks


def test_every_network_has_the_baseline_once_and_no_cell_twice():
    for quick in (True, False):
        for methods in networks(quick).values():
            assert methods.count(Method(BASELINE)) == 1
            assert len(set(methods)) == len(methods)


def test_the_full_table_has_both_engines_every_granularity_and_every_meta_batch():
    methods = {m for each in networks(quick=False).values() for m in each}
    for granularity in "SRCE":
        name = f"SAMT-{granularity}"
        for reading in ("strided", "next", "same", "held_out"):
            assert Method(name, reading, "chain") in methods
        for reading in ("strided", "next"):
            assert Method(name, reading, "general") in methods


def test_what_is_quick_is_part_of_the_full_table():
    full = {network.name: methods for network, methods in networks(False).items()}
    for network, methods in networks(quick=True).items():
        assert set(methods) <= set(full[network.name])
