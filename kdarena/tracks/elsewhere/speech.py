"""The student of this folder, with torch alone. ``python load.py`` lets it hear the example that lies here.

From Python: ``import load; load.hear(load.features(samples))``, samples [n] from -1 to 1, as many a second as ``config.json`` says.
"""

import hashlib
import importlib
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

FOLDER = Path(__file__).resolve().parent
CONFIG = json.loads((FOLDER / "config.json").read_text("utf-8"))
for name, digest in CONFIG["files"].items():
    if hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{FOLDER / name}: it is not the file that was exported; export the student again")
SOUND = torch.load(FOLDER / "features.pt", weights_only=True)


def weights() -> dict[str, torch.Tensor]:
    """The tensors of ``model.safetensors``: a header that says where each is, and their bytes."""
    content = bytearray((FOLDER / "model.safetensors").read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    kinds = {"F32": torch.float32, "I64": torch.int64}
    places = {name: (kinds[one["dtype"]], one["shape"], start + one["data_offsets"][0]) for name, one in header.items() if name != "__metadata__"}
    return {name: torch.frombuffer(content, dtype=kind, offset=at, count=math.prod(shape)).view(shape) for name, (kind, shape, at) in places.items()}


sys.path.insert(0, str(FOLDER))
student = importlib.import_module("network").Recogniser(SimpleNamespace(**CONFIG["layers"]), CONFIG["features"], CONFIG["classes"]).eval()
student.load_state_dict(weights())


def features(samples: torch.Tensor) -> torch.Tensor:
    """What the student sees of an utterance [1, T, 1 + F]: log-mel energies, three frames side by side, less their mean; channel 0 is 1."""
    samples = torch.nn.functional.pad(samples.float(), (0, max(0, CONFIG["window"] - len(samples))))
    shape = torch.hann_window(CONFIG["window"] + 2, periodic=False)[1:-1]
    power = torch.fft.rfft(samples.unfold(0, CONFIG["window"], CONFIG["hop"]) * shape, CONFIG["transform"]).abs().square()
    frames = (power @ SOUND["mel"] + CONFIG["floor"]).log()
    frames = torch.cat([frames, frames[-1:].expand(-len(frames) % CONFIG["stacked"], -1)])
    frames = frames.reshape(-1, CONFIG["features"]).half().float()
    return torch.cat([torch.ones(len(frames), 1), (frames - frames.mean(dim=0)) / SOUND["deviation"]], dim=1).unsqueeze(0)


@torch.no_grad()
def hear(inputs: torch.Tensor) -> str:
    """What is said in one utterance [1, T, 1 + F], by greedy decoding."""
    memory, _ = student.encode(inputs)
    token, state, said = torch.tensor([CONFIG["start"]]), None, list[str]()
    while len(said) + 1 < int((inputs[..., 0] > 0).sum()):
        scores, state = student.advance(memory, token, state)
        token = scores.argmax(dim=1)
        if int(token) == CONFIG["end"]:
            break
        said.append(CONFIG["labels"][int(token)])
    return str(CONFIG["separator"]).join(said)


if __name__ == "__main__":
    example = torch.load(FOLDER / "example.pt", weights_only=True)
    with torch.no_grad():
        difference = (student(**example["inputs"]).logits - example["scores"]).abs().max()
    print(f"the scores of the example differ by {difference:.1e} at most from those where it was exported")
    print(repr(hear(example["inputs"]["inputs"][:1])))
