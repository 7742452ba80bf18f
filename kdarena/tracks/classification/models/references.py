"""References to networks that are not listed: of torchvision, of timm, of transformers in a local folder, of a Python file.

A reference is a string: ``torchvision:resnet50``, ``timm:vit_tiny_patch16_224``, ``hf:/path/to/folder``, ``/path/file.py:function``, with options of the
network behind commas, as ``timm:vit_tiny_patch16_224,patch_size=4``; ``tap.STAGE=PATH`` among them names the submodule that shows a stage's feature map.
Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Kind = Literal["torchvision", "timm", "hf", "file", "onnx"]
ZOOS: tuple[Kind, ...] = ("torchvision", "timm", "hf")
FORMS = "torchvision:NAME, timm:NAME, hf:FOLDER or FILE.py:FUNCTION"
ONNX = ".onnx"
"""Suffix of a file that can be a teacher."""
TAP = "tap."
"""Prefix of the options that name a stage's submodule."""
_OPTION = re.compile(r",(?=[A-Za-z_][\w.]*=)")
_FILE = re.compile(r"(?P<file>.+\.py):(?P<function>\w+)")


@dataclass(frozen=True)
class Reference:
    """A network that is not listed.

    Attributes:
        kind: where it comes from.
        name: of the network there; the folder, or the file.
        function: of a file.
        options: what its builder is called with in addition.
        taps: stages and paths that the user named, shallow to deep.
    """

    kind: Kind
    name: str
    function: str = ""
    options: tuple[tuple[str, str], ...] = ()
    taps: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        begin = f"{self.name}:{self.function}" if self.kind == "file" else f"{self.kind}:{self.name}"
        further = (*self.options, *((f"{TAP}{stage}", path) for stage, path in self.taps))
        begin = self.name if self.kind == "onnx" else begin
        return ",".join((begin, *(f"{name}={value}" for name, value in further)))

    @property
    def arguments(self) -> dict[str, bool | int | float | str]:
        """The options as values."""
        return {name: _value(text) for name, text in self.options}

    @property
    def label(self) -> str:
        """A short name of letters, digits, dots and hyphens for files and tables; another one for each reference."""
        path = Path(self.name)
        names = {"file": f"{path.stem}.{self.function}", "hf": f"hf.{path.name}", "onnx": f"onnx.{path.stem}"}
        short = names.get(self.kind, f"{self.kind}.{self.name}")
        safe = re.sub(r"[^a-z0-9.]+", "-", short.lower()).strip("-.")
        plain = self.kind in ("torchvision", "timm") and not self.options and not self.taps and safe == f"{self.kind}.{self.name}".replace("_", "-")
        return safe if plain else f"{safe}.{hashlib.sha256(str(self).encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Facts:
    """What a card has to know of a network.

    Attributes:
        branches: whether it can be cut behind a stage.
        exits: its earlier exits.
        dropout: whether it can be built with dropout.
        feature_maps: whether it shows feature maps.
        embedding: whether it shows an embedding, the input of its last linear layer.
        batch_norm: whether it normalises by batches, without which a recipe of SGD with a high learning rate does not train it.
        trainable: whether it can be trained; else it can only be a teacher, whose weights come with it.
        image_size: height and width of the images that it is meant for, in pixels; None: not known.
        mean, std: of the channels by which its images are normalised, in units of the largest value of a pixel; None: not known.
    """

    branches: bool = False
    exits: int = 0
    dropout: bool = False
    feature_maps: bool = True
    embedding: bool = True
    batch_norm: bool = True
    trainable: bool = True
    image_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def is_reference(name: str) -> bool:
    """Whether a name is written as a reference; a listed name never is."""
    return ":" in name or name.endswith(ONNX)


def parse(text: str, folder: Path | None = None) -> Reference:
    """The reference that a string is, with absolute paths.

    Args:
        folder: what paths are relative to; None: the working directory.

    Raises:
        ValueError: in one line: it is none.
    """
    begin, *further = _OPTION.split(text.strip())
    options = [tuple(each.split("=", 1)) for each in further]
    taps = tuple((name.removeprefix(TAP), value) for name, value in options if name.startswith(TAP))
    plain = tuple((name, value) for name, value in options if not name.startswith(TAP))
    kind, _, name = begin.partition(":")
    for zoo in ZOOS:
        if kind == zoo:
            if not name:
                raise ValueError(f"network {text!r}: no name behind {kind}:; write {FORMS}")
            return Reference(zoo, _absolute(name, folder) if zoo == "hf" else name, options=plain, taps=taps)  # type: ignore[arg-type]
    if begin.endswith(ONNX):
        return Reference("onnx", _absolute(begin, folder))
    found = _FILE.fullmatch(begin)
    if found:
        return Reference("file", _absolute(found["file"], folder), found["function"], plain, taps)  # type: ignore[arg-type]
    raise ValueError(f"network {text!r} is not known; write {FORMS}")


def label(name: str) -> str:
    """A network's part of the name of a task: a listed name itself."""
    return parse(name).label if is_reference(name) else name


def with_taps(name: str, taps: str | None, role: Literal["teacher", "student"]) -> str:
    """A network's name with the stages that the user named for it by ``--taps``; unchanged where there are none.

    Args:
        taps: as typed: ``stage1=layer1,stage2=layer2`` of every network by reference, ``student.stage1=layer1`` of one of the two.

    Raises:
        ValueError: in one line: they can't be read, or are of a listed network, whose stages are declared.
    """
    named: dict[str, str] = {}
    seen: set[str] = set()
    for each in (taps or "").split(","):
        stage, equals, path = (part.strip() for part in each.partition("="))
        whose, _, own = stage.rpartition(".")
        if not taps:
            break
        if not (equals and re.fullmatch(r"\w+", own) and path and whose in ("", "teacher", "student")):
            raise ValueError(f"--taps {each!r}: write STAGE=PATH, as stage1=layer1, or student.stage1=layer1 for one of the two networks")
        if stage in seen:
            raise ValueError(f"--taps {taps}: {stage} is named twice; name it once")
        seen.add(stage)
        if whose == role and not is_reference(name):
            raise ValueError(f"--taps {each}: the stages of the listed network {name} are declared; only those of a network by reference can be named")
        if whose in ("", role):
            named[own] = path
    return str(replace(parse(name), taps=tuple(named.items()))) if named and is_reference(name) else name


def _absolute(path: str, folder: Path | None) -> str:
    expanded = Path(path).expanduser()
    return str(expanded.absolute() if folder is None else (folder / expanded).absolute())


def _value(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
