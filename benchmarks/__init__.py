"""Benchmarks: time to a stated relative objective gap against other systems, roofline, scaling and memory.

Run from the root of the checkout: ``make bench``, or ``python -m benchmarks --help`` for parts of it.
"""
