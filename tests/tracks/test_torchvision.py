"""torchvision imports with any build of torch."""

from __future__ import annotations

import subprocess
import sys


def in_a_new_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_data_sets_transforms_and_models_import_and_a_second_call_is_harmless():
    found = in_a_new_process(
        "from kdarena.tracks.torchvision import import_torchvision\n"
        "first = import_torchvision()\n"
        "import_torchvision.cache_clear()\n"
        "assert import_torchvision() is first\n"
        "from torchvision import datasets, models, transforms\n"
        "print(datasets.CIFAR100.base_folder, models.resnet18().fc.out_features, transforms.ToTensor.__name__)\n"
    )
    assert found.stdout.split() == ["cifar-100-python", "1000", "ToTensor"], found.stderr


def test_schemas_that_are_already_declared_are_left_alone():
    found = in_a_new_process(
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "from kdarena.tracks import torchvision as _torchvision\n"
        "_torchvision._load_compiled_operators = lambda: None\n"
        "print(_torchvision.import_torchvision().__name__)\n"
    )
    assert found.stdout.strip() == "torchvision", found.stderr
