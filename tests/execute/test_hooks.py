"""What a method's hooks raise is said as it was."""

import errno

import pytest
import torch

from kdarena.execute.hooks import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes"),
        RuntimeError("could not create a primitive: Cannot allocate memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_memory_that_ran_out_is_seen_in_whatever_words(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), OSError(errno.ENOSPC, "No space left on device"), ValueError("out of memory")])
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


def test_torch_says_so_when_it_is_asked_for_more_than_there_is():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**46)
    assert is_out_of_memory(raised.value)
