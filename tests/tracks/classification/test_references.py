"""References to networks as text: read, written again, named in files, with stages that the user names."""

from pathlib import Path

import pytest

from kdarena.tracks.classification.models.references import is_reference, label, parse, with_taps


@pytest.mark.parametrize(
    "text",
    [
        "torchvision:resnet50",
        "timm:vit_tiny_patch16_224,patch_size=4,drop_path_rate=0.1",
        "hf:/data/my model, second",
        "/code/nets.py:small,width=32",
        "timm:resnet18,tap.stage1=layer1.0,tap.stage2=layer2",
    ],
)
def test_a_reference_is_written_as_it_is_read(text: str):
    assert is_reference(text) and str(parse(text)) == text


def test_options_are_values():
    assert parse("timm:resnet18,width=32,rate=0.5,gated=true,act=gelu").arguments == {"width": 32, "rate": 0.5, "gated": True, "act": "gelu"}


def test_paths_become_absolute():
    assert parse("nets.py:small", Path("/code")).name == "/code/nets.py"
    assert parse("hf:folder", Path("/code")).name == "/code/folder"


@pytest.mark.parametrize("text", ["keras:resnet50", "torchvision:", "nets.py", "nets.py:", "nets.txt:small", "timm", ":", "hf:"])
def test_what_is_no_reference_is_refused_in_a_line_that_says_what_is_one(text: str):
    with pytest.raises(ValueError, match=r"torchvision:NAME, timm:NAME, hf:FOLDER or FILE.py:FUNCTION") as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_labels_are_file_names_of_their_own():
    references = ("timm:resnet18", "torchvision:resnet18", "timm:vit_tiny_patch16_224", "timm:vit_tiny_patch16_224,patch_size=4", "hf:/a/net", "hf:/b/net")
    labels = [label(name) for name in (*references, "/a/nets.py:small", "/b/nets.py:small", "hf:/a/наука", "hf:/a/../.. x")]
    assert len(set(labels)) == len(labels)
    assert all(set(each) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") for each in labels)
    assert labels[:3] == ["timm.resnet18", "torchvision.resnet18", "timm.vit-tiny-patch16-224"]
    assert label("wrn-40-2") == "wrn-40-2"


def test_stages_are_named_for_both_networks_or_for_one():
    assert with_taps("timm:resnet18", "a=layer1,student.b=layer2", "teacher") == "timm:resnet18,tap.a=layer1"
    assert with_taps("timm:resnet18", "a=layer1,student.b=layer2", "student") == "timm:resnet18,tap.a=layer1,tap.b=layer2"
    assert with_taps("resnet20", "a=layer1", "teacher") == "resnet20"
    assert with_taps("timm:resnet18", None, "student") == "timm:resnet18"


@pytest.mark.parametrize("taps", ["layer1", "=layer1", "a=", "peer.a=layer1", "a.b.c=layer1"])
def test_stages_that_are_named_wrongly_are_refused(taps: str):
    with pytest.raises(ValueError, match="--taps"):
        with_taps("timm:resnet18", taps, "student")


def test_the_stages_of_a_listed_network_are_declared():
    with pytest.raises(ValueError, match="the listed network resnet20 are declared"):
        with_taps("resnet20", "student.a=layer1", "student")
