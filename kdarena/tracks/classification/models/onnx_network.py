"""A teacher that is an ONNX file: its logits, computed by onnxruntime on the CPU, and nothing else of it."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class OnnxNetwork(nn.Module):
    """Images [B, C, H, W] to logits [B, classes], without gradients.

    The file is its one buffer, so that it is kept, copied and named by its content as any teacher's weights are.

    Args:
        path: of the file.

    Raises:
        ValueError: in one line: onnxruntime is not installed, or the file can't be read.
    """

    model: Tensor

    def __init__(self, path: Path):
        super().__init__()
        if importlib.util.find_spec("onnxruntime") is None:
            raise ValueError(f"{path}: onnxruntime is not installed: pip install 'kdarena[onnx]'")
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        # on the CPU also where networks are built without numbers: it can't be called without them
        self.register_buffer("model", torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8))
        self._session: Any = None

    def forward(self, x: Tensor) -> Tensor:
        """Its first output, in fp32."""
        logits: Tensor = self._logits(x)
        return logits

    @torch.compiler.disable
    @torch.no_grad()
    def _logits(self, x: Tensor) -> Tensor:
        if self._session is None:
            self._session = _session(self.model)
        (first, *_), (logits, *_) = self._session.get_inputs(), self._session.get_outputs()
        images = x.float().cpu().contiguous().numpy().astype(np.float16 if "float16" in first.type else np.float32, copy=False)
        size = first.shape[0] if isinstance(first.shape[0], int) else len(images)
        answers = [self._session.run([logits.name], {first.name: _filled(images[start : start + size], size)})[0] for start in range(0, len(images), size)]
        together = np.concatenate(answers)[: len(images)].astype(np.float32, copy=False)
        return torch.from_numpy(together).to(x.device)

    def _load_from_state_dict(self, *arguments: Any, **named: Any) -> None:
        super()._load_from_state_dict(*arguments, **named)
        self._session = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}  # a session can't be copied


def _filled(images: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """A batch of a size that the file fixes."""
    return images if len(images) == size else np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), images.dtype)])


def _session(model: Tensor) -> Any:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.cpu().numpy().tobytes(), options, providers=["CPUExecutionProvider"])
