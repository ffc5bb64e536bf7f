"""`python -m samt_jax` is the `samt` command."""

import sys

from samt_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
