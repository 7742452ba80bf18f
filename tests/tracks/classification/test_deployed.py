"""Students of images as their libraries keep them."""

import pytest
import torch

from kdarena.tracks.classification.deployed import Preparation, save_for
from kdarena.tracks.torchvision import import_torchvision

SEEN = Preparation((3, 32, 32), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), ("cat", "dog", "eel"))


def test_a_network_of_timm_is_read_back_with_its_preparation_and_labels(tmp_path):
    import_torchvision()
    timm = pytest.importorskip("timm")
    network = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, patch_size=8, depth=1).eval()
    assert save_for("timm", "timm:vit_tiny_patch16_224,patch_size=8,depth=1", network, tmp_path, SEEN) == "timm"
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(again(images), network(images), atol=1e-5)
    assert again.pretrained_cfg["label_names"] == ["cat", "dog", "eel"]
    assert tuple(again.pretrained_cfg["mean"]) == SEEN.mean and tuple(again.pretrained_cfg["input_size"]) == SEEN.shape


def test_a_network_that_was_trained_channels_last_is_saved(tmp_path):
    import_torchvision()
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", num_classes=3).eval().to(memory_format=torch.channels_last)
    assert save_for("timm", "timm:resnet10t", network, tmp_path, SEEN) == "timm"
    again, images = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(again(images), network(images), atol=1e-5)
    assert network.conv1[0].weight.is_contiguous(memory_format=torch.channels_last)  # the caller's is as it was


def test_a_network_of_transformers_is_read_back_with_its_preparation_and_labels(tmp_path):
    import_torchvision()
    from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTConfig, ViTForImageClassification

    size = {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    network = ViTForImageClassification(ViTConfig(num_labels=3, **size)).eval()
    assert save_for("hf", "hf:/models/vit", network, tmp_path, SEEN) == "hf_images"
    again = AutoModelForImageClassification.from_pretrained(tmp_path, local_files_only=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(again(images).logits, network(images).logits, atol=1e-5)
    assert again.config.id2label[2] == "eel"
    assert tuple(AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True).image_mean) == SEEN.mean


def test_a_listed_network_is_none_of_a_library(tmp_path):
    assert save_for("timm", "resnet20", torch.nn.Identity(), tmp_path, SEEN) is None
    assert save_for("hf", "timm:resnet18", torch.nn.Identity(), tmp_path, SEEN) is None
