"""What the methods cost: time, memory, operations and compilation, side by side.

`cells.py` says what is measured, `measure.py` measures it, `torch_methods.py` holds two
PyTorch programs to compare with.
"""
