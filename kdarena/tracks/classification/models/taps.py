"""Finds where a network that declares nothing shows its feature maps and its embedding, by one call of it.

A feature map is the last output of each spatial resolution, at the shallowest level of modules that has one: ``layer1`` and not ``layer1.1.relu``. Where
only tokens of one resolution are found, as in a ViT, they are the outputs of a few blocks at even distances.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kdarena.errors import described
from kdarena.tracks.shown import MapLayout, Shown, first_tensor, logits_alone

MOST_STAGES = 4
"""Stages that are shown, the last ones: the outputs before them are of the stem."""
MOST_PREFIX = 16
"""Tokens that may be before those of the patches."""
LARGE = 224
"""Pixels on a side at which the stages of a network that takes images of any size have different resolutions."""
PASSED_OVER = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.Identity, nn.Dropout, nn.Softmax)
"""Modules whose outputs are no stage's: what averages before the head, what does nothing in eval mode, and attention's probabilities."""
IMAGES = 2
"""In the call: more than one, so that what is cut into windows is not taken for a map."""
Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class _Output:
    """What a module put out: its path, its kind, and the shape."""

    path: str
    kind: type[nn.Module]
    shape: tuple[int, ...]

    @property
    def depth(self) -> int:
        return self.path.count(".")

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]


@dataclass(frozen=True)
class _Map:
    """An output that is read as a map."""

    output: _Output
    layout: MapLayout
    grid: tuple[int, int]


@dataclass(frozen=True)
class _Looked:
    """What one call showed: outputs in the order of their ends, and the path of the last linear layer on one vector a sample."""

    outputs: tuple[_Output, ...]
    head: str | None
    size: tuple[int, int]


@dataclass(frozen=True)
class Found:
    """What one call of a network shows: what it shows, and whether it normalises by batches."""

    shown: Shown
    batch_norm: bool


def find(name: str, build: Build, classes: int, in_channels: int, size: tuple[int, int], named: Sequence[tuple[str, str]] = ()) -> Found:
    """What a network shows of images of a size.

    Args:
        name: of the network, for messages.
        build: gives it; called on torch's meta device where that works.
        named: stages and paths that the user named; empty: they are looked for.

    Raises:
        ValueError: in one line: it can't take such images, does not give ``classes`` logits, or shows no map at a named path.
    """
    network = _skeleton(build, in_channels, size)
    normalised = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
    return Found(_find(name, network, classes, in_channels, size, named), normalised)


def _find(name: str, network: nn.Module, classes: int, in_channels: int, size: tuple[int, int], named: Sequence[tuple[str, str]]) -> Shown:
    looked = _look(name, network, classes, in_channels, size)
    maps = _maps(looked, in_channels)
    if named:
        return _as_named(name, network, maps, named, looked.head)
    if len({each.grid for each in maps if each.layout.order == "tokens"}) == 1 == len(_stages(maps)):
        return _shown(_blocks(maps), looked.head)
    larger = _look_or_none(name, network, classes, in_channels, (LARGE, LARGE)) if min(size) < LARGE else None
    return _shown((_stages(maps) if larger is None else _stages(_maps(larger, in_channels)))[-MOST_STAGES:], looked.head)


def _skeleton(build: Build, in_channels: int, size: tuple[int, int]) -> nn.Module:
    """The network without numbers where it can be built and called so, else with them."""
    try:
        with torch.device("meta"):
            network = build().eval()
        _call(network, in_channels, size)
    except Exception:  # code that reads numbers while it builds or runs can't do without them; what is really wrong is raised again by it with numbers
        with torch.random.fork_rng(devices=[]):
            network = build().eval()
    return network


def _call(network: nn.Module, in_channels: int, size: tuple[int, int]) -> Any:
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    images = torch.zeros(IMAGES, in_channels, *size, device=device)
    with torch.no_grad():
        return network(images.contiguous(memory_format=torch.channels_last) if in_channels >= 3 else images)


def _look(name: str, network: nn.Module, classes: int, in_channels: int, size: tuple[int, int]) -> _Looked:
    outputs: list[_Output] = []
    heads: list[str] = []
    hooks = [module.register_forward_hook(partial(_note, outputs, heads, classes, path)) for path, module in network.named_modules() if path]
    try:
        answer = _call(network, in_channels, size)
    except Exception as error:  # of the network's own code
        raise ValueError(f"network {name} can't take images of {in_channels} x {size[0]} x {size[1]} pixels: {described(error)}") from None
    finally:
        for hook in hooks:
            hook.remove()
    try:
        logits = logits_alone(network, (), answer)
    except (TypeError, IndexError, KeyError):
        raise ValueError(f"network {name} gives {type(answer).__name__}; it has to give logits [B, {classes}]") from None
    if tuple(logits.shape) != (IMAGES, classes):
        raise ValueError(f"network {name} gives {tuple(logits.shape)} for {IMAGES} images; it has to give logits {(IMAGES, classes)}")
    return _Looked(tuple(outputs), heads[-1] if heads else None, size)


def _look_or_none(name: str, network: nn.Module, classes: int, in_channels: int, size: tuple[int, int]) -> _Looked | None:
    try:
        return _look(name, network, classes, in_channels, size)
    except ValueError:
        return None


def _note(outputs: list[_Output], heads: list[str], classes: int, path: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    try:
        tensor = first_tensor(output)
    except (TypeError, IndexError, KeyError):
        return
    outputs.append(_Output(path, type(module), tuple(tensor.shape)))
    if inputs and isinstance(inputs[0], Tensor) and _is_head(module, inputs[0].shape, classes):
        heads.append(path)


def _is_head(module: nn.Module, seen: tuple[int, ...], classes: int) -> bool:
    """Whether a module is a linear layer from one vector a sample to the logits, written as one or as a convolution of one position."""
    if isinstance(module, nn.Linear):
        return module.out_features == classes and len(seen) == 2
    return isinstance(module, nn.Conv2d) and module.out_channels == classes and seen[2:] == (1, 1)


def _maps(looked: _Looked, in_channels: int) -> list[_Map]:
    """The outputs that can be read as maps, in order; a resolution that first appears behind a coarser one is that of something else, as attention."""
    maps: list[_Map] = []
    grid: tuple[int, int] | None = None
    grids: list[tuple[int, int]] = []
    for output in looked.outputs:
        found = _as_map(output, looked.size, grid)
        if found is None or issubclass(output.kind, PASSED_OVER) or (found.grid, output.shape[1]) == (looked.size, in_channels):
            continue
        if found.grid in grids or not grids or found.grid < min(grids):
            maps.append(found)
            grids.append(found.grid)
            if found.layout.order == "channels first" and found.grid != (1, 1):
                grid = found.grid
    return maps


def _as_map(output: _Output, size: tuple[int, int], before: tuple[int, int] | None) -> _Map | None:
    """An output as a map.

    Args:
        before: grid of the last map that was a map by itself, of which tokens are made.
    """
    if output.shape[:1] != (IMAGES,):
        return None
    if len(output.shape) == 4:
        _, first, second, third = output.shape
        if _in_proportion(second, third, size):
            return _Map(output, MapLayout(), (second, third))
        if _in_proportion(first, second, size):
            return _Map(output, MapLayout("channels last"), (first, second))
    if len(output.shape) == 3 and before is not None:
        prefix = output.shape[1] - before[0] * before[1]
        if 0 <= prefix <= MOST_PREFIX:
            return _Map(output, MapLayout("tokens", prefix, before), before)
    if len(output.shape) == 3:
        side = int(output.shape[1] ** 0.5)
        if side > 1 and side * side == output.shape[1] and size[0] == size[1]:
            return _Map(output, MapLayout("tokens", 0, (side, side)), (side, side))
    return None


def _in_proportion(height: int, width: int, size: tuple[int, int]) -> bool:
    if height > size[0] or width > size[1]:
        return False
    return height == width if size[0] == size[1] else abs(height * size[1] - width * size[0]) <= max(size)


def _stages(maps: Sequence[_Map]) -> list[_Map]:
    """The last map of each resolution at the shallowest level, from fine to coarse; one position alone counts only where there is nothing else.

    A stem at a level above the stages makes way for a stage of the same resolution: ``stem`` for ``stages.0``, where ``stages.1`` is a stage.
    """
    chosen: dict[tuple[int, int], _Map] = {}
    for each in maps:
        former = chosen.get(each.grid)
        if former is None or each.output.depth <= former.output.depth:
            chosen[each.grid] = each
    order = {each.output.path: number for number, each in enumerate(maps)}
    containers = {each.output.parent for each in chosen.values()}
    for each in maps:
        if each.output.parent in containers and order[each.output.path] > order[chosen[each.grid].output.path]:
            chosen[each.grid] = each
    if len(chosen) > 1:
        chosen.pop((1, 1), None)
    return sorted(chosen.values(), key=lambda each: -each.grid[0] * each.grid[1])


def _blocks(maps: Sequence[_Map]) -> list[_Map]:
    """Outputs of the network's blocks at even distances, the last one among them."""
    groups: dict[tuple[str, type[nn.Module]], list[_Map]] = {}
    for each in maps:
        if each.layout.order == "tokens":
            groups.setdefault((each.output.parent, each.output.kind), []).append(each)
    blocks = min(groups.values(), key=lambda group: (-len(group), group[0].output.depth))
    count = min(MOST_STAGES, len(blocks))
    return [blocks[(number + 1) * len(blocks) // count - 1] for number in range(count)]


def _shown(maps: Sequence[_Map], head: str | None, stages: Sequence[str] = ()) -> Shown:
    names = stages or [f"stage{number}" for number in range(1, len(maps) + 1)]
    layouts = {stage: each.layout for stage, each in zip(names, maps, strict=True) if each.layout != MapLayout()}
    return Shown(tuple((stage, each.output.path) for stage, each in zip(names, maps, strict=True)), head, layouts)


def _as_named(name: str, network: nn.Module, maps: Sequence[_Map], named: Sequence[tuple[str, str]], head: str | None) -> Shown:
    by_path: Mapping[str, _Map] = {each.output.path: each for each in maps}
    known = [path for path, _ in network.named_modules() if path]
    for stage, path in named:
        if path not in known:
            near = difflib.get_close_matches(path, known, 3, 0.5) or known[:5]
            raise ValueError(f"--taps {stage}={path}: network {name} has no module {path!r}; it has {', '.join(near)}")
        if path not in by_path:
            shown = [each.output.path for each in _stages(maps)]
            raise ValueError(
                f"--taps {stage}={path}: the output of {path!r} in network {name} is no feature map; those of {', '.join(shown) or 'no module'} are"
            )
    return replace(_shown([by_path[path] for _, path in named], head, [stage for stage, _ in named]))
