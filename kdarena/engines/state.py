"""The state of a process that numbers depend on: what it is, and what of it a run has changed.

A run may change it as it likes. What it leaves changed would change the numbers of the next run in the same worker, so that
the worker is replaced and the run's result names the change.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import partial
from operator import attrgetter
from typing import Any

import numpy
import torch

from kdarena.engines.patches import Functions
from kdarena.execute.left_running import new_threads, running_children

DEVICES = ("cpu", "cuda", "mps")
FLAGS = (
    *("fp32_precision", "opt_einsum.enabled", "opt_einsum.strategy", "quantized.engine", "mha._is_fastpath_enabled", "miopen.immediate"),
    *(f"cudnn.{flag}" for flag in ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32", "fp32_precision")),
    *("cudnn.conv.fp32_precision", "cudnn.rnn.fp32_precision", "mkldnn.enabled", "mkldnn.deterministic", "mkldnn.allow_tf32", "mkldnn.fp32_precision"),
    *("mkldnn.matmul.fp32_precision", "mkldnn.conv.fp32_precision", "mkldnn.rnn.fp32_precision", "cuda.matmul.fp32_precision", "cuda.matmul.allow_tf32"),
    *("cuda.matmul.allow_fp16_reduced_precision_reduction", "cuda.matmul.allow_bf16_reduced_precision_reduction", "cuda.matmul.allow_fp16_accumulation"),
)
"""Of ``torch.backends``."""
CHOICES = ("flash_sdp_enabled", "mem_efficient_sdp_enabled", "math_sdp_enabled", "cudnn_sdp_enabled", "preferred_linalg_library", "preferred_blas_library")
"""Functions of ``torch.backends.cuda`` without arguments."""
LIMITS = ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_STACK")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD)

SET_BY_LIBRARIES = (
    *("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TRITON_PTXAS_PATH", "TRITON_LIBDEVICE_PATH"),
    *("CUDA_HOME", "CUDA_MODULE_LOADING"),
)
"""Variables of the environment that scikit-learn and torch set when they are first used."""
CALLED_ALONG = ("number of hooks", "number of modes", "a tracing function", "a profiling function")
"""Readings of what is called along with functions, which could change what they return."""
SHOWN = 3
"""Changes that a note names; the rest is counted."""
LONGEST = 60
"""Characters of a value that a note shows."""


class State:
    """The state as it was when it was last taken: at first when this is made."""

    def __init__(self) -> None:
        # The first optimiser of a process brings torch's compiler, which puts functions of its own in the place of some of torch's:
        # here, and not as a change of the first run's.
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        self._readings = _readings()
        self.take()

    def take(self) -> None:
        """Look at the state: what is different later has changed."""
        # what this version or build of torch does not have is not compared
        self._before = {name: value for name, read in self._readings.items() if not isinstance(value := _read(read), _Unreadable)}
        self._environment = dict(os.environ)
        self._threads = frozenset(threading.enumerate())
        self._functions = Functions()

    def changes(self) -> list[str]:
        """What is different now, a few words each; empty where nothing is."""
        changes = [f"{name} {_difference(before, now)}" for name, before in self._before.items() if (now := _read(self._readings[name])) != before]
        changes += _changed_variables(self._environment, dict(os.environ))
        changes += [f"{name} patched" for name in self._functions.changed()]
        changes += [f"thread {thread.name!r} running" for thread in new_threads(self._threads)]
        return changes + [f"{child} running" for child in running_children()]

    def replaced(self) -> list[str]:
        """What is different now of the functions by which networks are scored, and of what is called with each of them; a few words each."""
        readings = [name for name in self._before if name.startswith(CALLED_ALONG)]
        return [*self._functions.changed(), *(name for name in readings if _read(self._readings[name]) != self._before[name])]


def note_of(changes: list[str]) -> str:
    """One line for the reader of a run's row."""
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return " ".join(f"left {', '.join(changes[:SHOWN])}{more}; its worker was replaced".split())


class _Unreadable(str):
    """What a reading raised."""


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:
        return _Unreadable(f"unreadable: {error}")


def _readings() -> dict[str, Callable[[], Any]]:
    """What is compared in addition to functions, by the words that name it; what is called is taken now, whatever a plugin patches later."""
    readings = {**_of_modes(), **_of_process()}
    for name in FLAGS:
        readings[f"torch.backends.{name}"] = partial(attrgetter(name), torch.backends)
    for name in CHOICES:
        readings[f"torch.backends.cuda.{name}"] = getattr(torch.backends.cuda, name, _missing)
    hooked = {"torch.nn.modules.module": "modules", "torch.optim.optimizer": "optimisers"}
    for module, owners in hooked.items():
        hooks = [value for name, value in vars(sys.modules[module]).items() if name.startswith("_global_") and isinstance(value, dict)]
        readings[f"number of hooks on all {owners}"] = partial(_total, hooks)
    return readings


def _of_modes() -> dict[str, Callable[[], Any]]:
    """Modes of torch and numpy."""
    enabled, dtype, intern = torch.is_autocast_enabled, torch.get_autocast_dtype, torch._C
    readings: dict[str, Callable[[], Any]] = {}
    for device in DEVICES:
        readings[f"torch's autocast for {device}"] = partial(enabled, device)
        readings[f"the type of torch's autocast for {device}"] = partial(dtype, device)
    return readings | {
        "torch's cache of autocast": torch.is_autocast_cache_enabled,
        "torch's grad mode": torch.is_grad_enabled,
        "torch's inference mode": torch.is_inference_mode_enabled,
        "torch's default dtype": torch.get_default_dtype,
        "torch's default device": torch.get_default_device,
        "torch's deterministic algorithms": torch.get_deterministic_debug_mode,
        "filling of uninitialised memory": partial(attrgetter("deterministic.fill_uninitialized_memory"), torch.utils),
        "torch's float32 matmul precision": torch.get_float32_matmul_precision,
        "torch's threads": torch.get_num_threads,
        "torch's threads between operations": torch.get_num_interop_threads,
        "torch's anomaly detection": torch.is_anomaly_enabled,
        "threads of torch's backward passes": getattr(intern, "_is_multithreading_enabled", _missing),
        "number of modes over torch's functions": getattr(intern, "_len_torch_function_stack", _missing),
        "number of modes over torch's operators": getattr(intern, "_len_torch_dispatch_stack", _missing),
        "torch's current GPU": lambda: torch.cuda.current_device() if torch.cuda.is_initialized() else 0,
        "numbers too small to be normal": _denormal,
        "numpy's treatment of errors": numpy.geterr,
    }


def _of_process() -> dict[str, Callable[[], Any]]:
    """What Python and the system keep for the process."""
    readings: dict[str, Callable[[], Any]] = {
        "the current directory": os.getcwd,
        "standard output": _open_output,
        "sys.path": lambda: list(sys.path),
        "the recursion limit": sys.getrecursionlimit,
        "the garbage collector": gc.isenabled,
        "a tracing function": sys.gettrace,
        "a profiling function": sys.getprofile,
        "warnings that raise": lambda: sum(rule[0] == "error" for rule in warnings.filters),
        "an alarm": lambda: signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0),
    }
    for number in SIGNALS:
        readings[f"the handler of {number.name}"] = partial(signal.getsignal, number)
    for limit in LIMITS:
        if hasattr(resource, limit):
            readings[f"the limit {limit}"] = partial(resource.getrlimit, getattr(resource, limit))
    return readings


def _open_output() -> str:
    """Whether what is printed has somewhere to go."""
    try:
        os.fstat(1)
    except OSError:
        return "closed"
    return "closed" if sys.stdout is None or sys.stdout.closed else "open"


def _missing() -> Any:
    raise AttributeError("this version of torch does not have it")


def _total(sized: Sequence[Sized]) -> int:
    return sum(map(len, sized))


def _denormal() -> str:
    """``kept``, or ``flushed`` to zero, as ``torch.set_flush_denormal`` has the processor do."""
    return "kept" if sys.float_info.min / 2 else "flushed"


def _changed_variables(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Variables of the environment that were set, changed or removed."""
    if before == now:
        return []
    names = [name for name in {**before, **now} if before.get(name) != now.get(name) and not (name in SET_BY_LIBRARIES and name not in before)]
    return [f"variable {name} of the environment {_difference(before.get(name), now.get(name))}" for name in names]


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, list) and isinstance(now, list) and sorted(before) != sorted(now):
        before, now = [one for one in before if one not in now], [one for one in now if one not in before]
    return f"{_shown(now)} (before: {_shown(before)})"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    text = "not set" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
