"""Fixtures that several folders share."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """One thread and a fixed seed: on tiny maps threads wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
