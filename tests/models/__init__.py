"""Tests of the networks; `contract.py` is what those that run over all of them share."""
