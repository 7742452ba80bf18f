"""Networks by reference: built without a download, with their maps and their embedding found, and refused in a line where they can't serve."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from kdarena.tracks.capture import Capture, overheard
from kdarena.tracks.classification.models import create, facts
from kdarena.tracks.classification.models.own_code import digest_of_code
from kdarena.tracks.shown import shown_by

VIT = "timm:vit_tiny_patch16_224,patch_size=8,depth=6,embed_dim=24,num_heads=2"
NETS = """
import torch
from torch import nn
from pieces import block
from dataclasses import dataclass

class Net(nn.Module):
    def __init__(self, classes, in_channels, width, answer, dropout=0.0):
        super().__init__()
        self.answer = answer
        self.body = nn.Sequential(block(in_channels, width, 1), block(width, width, 2), block(width, 2 * width, 2), nn.Dropout(dropout))
        self.last = nn.Linear(2 * width, classes)

    def forward(self, x):
        logits = self.last(self.body(x).mean((2, 3)))
        return {"plain": logits, "tuple": (logits, logits * 0), "dict": {"logits": logits}, "none": None}[self.answer]

def small(classes, in_channels=3, width=8, answer="plain", dropout=0.0):
    return Net(classes, in_channels, width, answer, dropout)

def fixed(classes):
    return Net(7, 3, 8, "plain")

def broken(classes):
    return 1 / 0

def nothing(classes):
    return "net"
"""
PIECES = """
from torch import nn

def block(i, o, stride):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.BatchNorm2d(o), nn.ReLU())
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "nets.py").write_text(NETS)
    (folder / "pieces.py").write_text(PIECES)
    return folder / "nets.py"


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    """Two folders of image classifiers of transformers, without weights."""
    from transformers import ResNetConfig, ViTConfig

    folder = tmp_path_factory.mktemp("hf")
    ViTConfig(hidden_size=24, num_hidden_layers=5, num_attention_heads=2, intermediate_size=32, image_size=224, patch_size=8).save_pretrained(folder / "vit")
    ResNetConfig(embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], layer_type="basic").save_pretrained(folder / "resnet")
    preprocessor = {"size": {"height": 224, "width": 224}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (folder / "vit" / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def shown(name: str, size: int, in_channels: int = 3) -> tuple[torch.nn.Module, dict[str, tuple[int, ...]], torch.Tensor | None, torch.Tensor]:
    network = create(name, 5, in_channels=in_channels, image_size=(size, size)).eval()
    with Capture(network) as capture, torch.no_grad():
        logits = network(torch.randn(3, in_channels, size, size))
    return network, {stage: tuple(each.shape[1:]) for stage, each in capture.features().items()}, capture.embedding(), logits


@pytest.mark.parametrize(
    ("name", "size", "maps"),
    [
        ("torchvision:resnet18", 32, [(64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1)]),
        (VIT, 32, [(24, 4, 4)] * 4),
        ("timm:vit_tiny_patch16_224,patch_size=8,depth=2,embed_dim=24,num_heads=2,reg_tokens=4", 32, [(24, 4, 4)] * 2),
        ("timm:convnext_atto", 32, [(40, 8, 8), (80, 4, 4), (160, 2, 2), (320, 1, 1)]),
        ("timm:swin_tiny_patch4_window7_224,embed_dim=12", 56, [(12, 14, 14), (24, 7, 7), (48, 4, 4), (96, 2, 2)]),
        ("timm:resnetv2_50", 32, [(256, 8, 8), (512, 4, 4), (1024, 2, 2), (2048, 1, 1)]),
    ],
)
def test_maps_are_found_at_each_change_of_resolution_and_tokens_are_maps(name: str, size: int, maps: list[tuple[int, ...]]):
    network, found, embedding, logits = shown(name, size)
    assert list(found.values()) == maps
    assert list(found) == [f"stage{number}" for number in range(1, len(maps) + 1)]
    assert logits.shape == (3, 5) and embedding is not None
    head = network.get_submodule(shown_by(network).head)
    again = head(embedding[:, :, None, None]).flatten(1) if isinstance(head, torch.nn.Conv2d) else head(embedding)
    torch.testing.assert_close(again, logits)


@pytest.mark.parametrize(("folder", "maps"), [("vit", [(24, 4, 4)] * 4), ("resnet", [(8, 8, 8), (12, 4, 4), (16, 2, 2), (20, 1, 1)])])
def test_a_local_folder_of_transformers_is_a_network(local: Path, folder: str, maps: list[tuple[int, ...]]):
    network, found, embedding, logits = shown(f"hf:{local / folder}", 32)
    assert list(found.values()) == maps
    torch.testing.assert_close(network.get_submodule(shown_by(network).head)(embedding), logits)


def test_a_folder_says_what_its_images_are(local: Path):
    said = facts(f"hf:{local / 'vit'}")
    assert (said.image_size, said.mean, said.std) == ((224, 224), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.mark.parametrize("answer", ["plain", "tuple", "dict"])
def test_a_function_of_a_file_is_a_network_whatever_it_wraps_its_logits_in(own: Path, answer: str):
    network, found, embedding, logits = shown(f"{own}:small,width=4,answer={answer}", 16)
    assert list(found.values()) == [(4, 16, 16), (4, 8, 8), (8, 4, 4)]
    torch.testing.assert_close(network.last(embedding), logits)


def test_a_function_that_takes_dropout_can_teach_with_it(own: Path):
    assert facts(f"{own}:small").dropout and not facts("torchvision:resnet18").dropout
    assert create(f"{own}:small", 5, dropout=0.3).body[3].p == 0.3
    with pytest.raises(ValueError, match="has no dropout"):
        create("torchvision:resnet18", 5, dropout=0.3)


@pytest.mark.parametrize("name", ["torchvision:resnet18", VIT, "timm:convnext_atto"])
def test_images_of_one_channel_are_taken(name: str):
    assert shown(name, 32, in_channels=1)[3].shape == (3, 5)


def test_a_seed_gives_the_same_network_and_its_weights_have_the_names_of_its_library():
    import timm

    first, second = (_seeded(VIT) for _ in range(2))
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, patch_size=8, depth=6, embed_dim=24, num_heads=2)
    plain.load_state_dict(first.state_dict())


def _seeded(name: str) -> torch.nn.Module:
    torch.manual_seed(3)
    return create(name, 5, image_size=(32, 32))


def test_a_copy_shows_what_the_original_shows():
    network = create(VIT, 5, image_size=(32, 32))
    with Capture(network):
        network(torch.zeros(2, 3, 32, 32))
    other = copy.deepcopy(network)
    with Capture(other) as capture:
        other(torch.zeros(2, 3, 32, 32))
    assert len(capture.features()) == 4 and capture.embedding() is not None
    assert not overheard(other)


def test_maps_of_tokens_pass_gradients_on():
    network = create(VIT, 5, image_size=(32, 32))
    with Capture(network) as capture:
        network(torch.zeros(2, 3, 32, 32))
    capture.features()["stage1"].square().sum().backward()
    assert network.blocks[0].mlp.fc1.weight.grad.abs().sum() > 0


def test_stages_are_those_that_the_user_named():
    _, found, _, _ = shown("torchvision:resnet18,tap.early=layer1.0.conv1,tap.late=layer4", 32)
    assert found == {"early": (64, 8, 8), "late": (512, 1, 1)}


def test_a_network_of_tokens_is_known_to_have_no_batch_norm():
    assert facts("torchvision:resnet18").batch_norm and not facts(VIT, image_size=(32, 32)).batch_norm


def test_a_network_without_a_linear_head_shows_no_embedding():
    said = facts("torchvision:squeezenet1_1", image_size=(64, 64))
    assert said.feature_maps and not said.embedding


def test_large_networks_are_looked_at_without_their_weights():
    said = facts("torchvision:vit_h_14", image_size=(28, 28))
    assert said.feature_maps and said.embedding


def test_facts_of_listed_networks_are_those_of_their_table():
    assert facts("resnet20").branches and facts("msdnet").exits == 6 and facts("wrn-40-2").dropout


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("torchvision:resnet19", 32, "torchvision has no 'resnet19'; did you mean resnet1"),
        ("timm:vit_tinny_patch16_224", 32, "did you mean vit_tiny_patch16_224"),
        ("timm:hf-hub:someone/net", 32, "timm has no 'hf-hub:someone/net'"),
        ("torchvision:alexnet", 32, "can't take images of 3 x 32 x 32 pixels: RuntimeError"),
        ("timm:vit_tiny_patch16_224,patch_size=64", 32, "network timm:vit_tiny_patch16_224,patch_size=64 can't"),
        ("timm:resnet18,sizes=3", 32, "can't be built for 5 classes and 3 x 32 x 32 images: TypeError"),
        ("torchvision:resnet18,tap.a=layr1", 32, "has no module 'layr1'; it has layer1"),
        ("torchvision:resnet18,tap.a=fc", 32, "the output of 'fc' in network torchvision:resnet18,tap.a=fc is no feature map; those of"),
        ("hf:/nowhere", 32, "/nowhere has no config.json"),
        ("OWN:fixed", 16, "gives (2, 7) for 2 images; it has to give logits (2, 5)"),
        ("OWN:small,answer=none", 16, "gives NoneType; it has to give logits"),
        ("OWN:broken", 16, "ZeroDivisionError: division by zero"),
        ("OWN:nothing", 16, "gave str; it has to give a torch.nn.Module"),
        ("OWN:smal", 16, "has no function 'smal'; did you mean small"),
        ("/nowhere/nets.py:small", 16, "/nowhere/nets.py: no such file"),
    ],
)
def test_a_network_that_can_not_serve_is_refused_in_a_line(own: Path, name: str, size: int, says: str):
    with pytest.raises(ValueError) as caught:
        create(name.replace("OWN", str(own)), 5, image_size=(size, size))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_raises_or_ends_the_process_while_it_is_imported_is_refused(tmp_path: Path):
    for number, code in enumerate(("1/0", "import nowhere_at_all", "def f(:", "raise SystemExit(3)")):
        (tmp_path / f"bad{number}.py").write_text(code)
        with pytest.raises(ValueError, match=f"bad{number}.py can't be imported"):
            create(f"{tmp_path}/bad{number}.py:net", 5)


def test_the_digest_of_a_file_is_of_what_it_imports_from_its_folder_too(tmp_path: Path):
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "pieces.py").write_text(PIECES)
    (tmp_path / "other.py").write_text("x = 1")
    before = digest_of_code(str(tmp_path / "nets.py"))
    (tmp_path / "other.py").write_text("x = 2")
    assert digest_of_code(str(tmp_path / "nets.py")) == before
    (tmp_path / "pieces.py").write_text(PIECES + "# another\n")
    assert digest_of_code(str(tmp_path / "nets.py")) != before


def test_a_package_that_is_missing_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    from kdarena.tracks.classification.models import zoo

    monkeypatch.setattr(zoo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"timm is not installed: pip install 'kdarena\[timm\]'"):
        create("timm:resnet34", 5)
