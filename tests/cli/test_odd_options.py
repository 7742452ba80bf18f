"""Odd values of the options, and options that do not go together: one line that says what to do and status 2, never a traceback."""

import shlex

import pytest
from PIL import Image

ROWS = "".join(f"film number {number},{('bad', 'good')[number % 2]}\n" for number in range(60))

DIGITS = "--tasks digits "
PICTURES = "--images pictures "
TEXT = "--text reviews.csv "

ODD = [
    # a task of pictures
    "--images reviews.csv",
    "--images ''",
    "--images nowhere",
    "--images empty",
    "--images 'one class'",
    "--images pictures/cat",
    "--images ~nobody/pictures",
    PICTURES + "--columns text,label",
    PICTURES + "--image-size 0",
    PICTURES + "--image-size ü",
    PICTURES + "--image-size 1000000",
    PICTURES + "--class-weights some",
    PICTURES + "--unlabelled nowhere",
    PICTURES + "--unlabelled reviews.csv",
    PICTURES + "--teacher bert-2-16",
    PICTURES + "--task-from waves.py:card",
    "--unlabelled pictures",
    "--skip-unreadable",
    "--image-size 32",
    "--class-weights balanced",
    # a task of texts
    "--text pictures",
    "--text ''",
    "--text nowhere.csv",
    "--text empty",
    "--text picture.png",
    "--text latin.csv",
    TEXT + "--columns ''",
    TEXT + "--columns text",
    TEXT + "--columns text,text",
    TEXT + "--columns ü,label",
    TEXT + "--columns 0,1",
    TEXT + "--columns 1,99",
    TEXT + "--columns ,",
    TEXT + "--recipe modern",
    TEXT + "--taps stage1=layer1",
    TEXT + "--teacher resnet56",
    TEXT + "--teacher timm:resnet18",
    TEXT + "--teacher bert-0-16",
    TEXT + "--teacher bert-2-x",
    TEXT + "--teacher hf:",
    TEXT + "--teacher hf:empty",
    TEXT + "--teacher 'hf:no where ü'",
    TEXT + "--teacher hf:reviews.csv",
    TEXT + "--views 4",
    TEXT + "--skip-unreadable",
    TEXT + "--image-size 32",
    "--columns text,label",
    # networks
    DIGITS + "--teacher ''",
    DIGITS + "--student ' '",
    DIGITS + "--teacher nozoo:resnet18",
    DIGITS + "--teacher timm:nonet",
    DIGITS + "--teacher timm:",
    DIGITS + "--teacher torchvision:nonet",
    DIGITS + "--teacher torchvision:resnet18,width",
    DIGITS + "--teacher nets.py",
    DIGITS + "--teacher nets.py:",
    DIGITS + "--teacher nets.py:nothing",
    DIGITS + "--teacher broken.py:net",
    DIGITS + "--teacher nowhere.onnx",
    DIGITS + "--teacher broken.onnx",
    DIGITS + "--student broken.onnx",
    DIGITS + "--taps ''",
    DIGITS + "--taps stage1",
    DIGITS + "--taps stage1=",
    DIGITS + "--taps =layer1",
    DIGITS + "--taps stage1=layer1",
    DIGITS + "--student torchvision:resnet18 --taps stage1=no.where",
    DIGITS + "--student torchvision:resnet18 --taps nobody.stage1=layer1",
    DIGITS + "--student torchvision:resnet18 --taps stage1=layer1,stage1=layer2",
    # a teacher's weights
    DIGITS + "--teacher-weights ema",
    DIGITS + "--teacher-weights ''",
    DIGITS + "--teacher-checkpoint ''",
    DIGITS + "--teacher-checkpoint nowhere.pt",
    # recipe, views, data
    DIGITS + "--recipe ''",
    DIGITS + "--recipe Modern",
    "--tasks grammar --recipe modern",
    DIGITS + "--recipe modern --views 4",
    DIGITS + "--views 0",
    DIGITS + "--views ''",
    DIGITS + "--teacher-outputs sometimes",
    "--tasks cifar100 --data-root reviews.csv",
    "--tasks cifar100 --data-root ''",
    "--tasks cifar100 --data-root 'no where ü'",
    "--tasks ''",
    "--tasks digitß",
    # a task in Python
    "--task-from ''",
    "--task-from nowhere.py:card",
    "--task-from nets.py",
    "--task-from nets.py:nothing",
    "--task-from nets.py:number",
    "--task-from broken.py:card",
    "--task-from reviews.csv:card",
    # a place to write to
    DIGITS + "--plugin-path ''",
    DIGITS + "--plugin-path pictures",
    DIGITS + "--device abacus",
    DIGITS + "--device cuda:-1",
    DIGITS + "--device ''",
    DIGITS + "--ladder ''",
    DIGITS + "--ladder nan",
    DIGITS + "--budget nanm",
    DIGITS + "--budget ''",
    DIGITS + "--param ''",
    DIGITS + "--param kd.T=ü",
    DIGITS + "--side-by-side -1",
    DIGITS + "--seeds 0",
    DIGITS + "--workers ü",
    # a teacher by its logits
    DIGITS + "--teacher-logits ''",
    DIGITS + "--teacher-logits nowhere.npz",
    DIGITS + "--teacher-logits reviews.csv",
    DIGITS + "--teacher-logits pictures",
    "--tasks scenes --teacher-logits reviews.csv",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the options name: pictures, texts, networks, and files that are something else."""
    root = tmp_path_factory.mktemp("odd options")
    for kind in ("cat", "dog"):
        (root / "pictures" / kind).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (8, 8), (number * 20, 0, 100 if kind == "cat" else 0)).save(root / "pictures" / kind / f"{number}.png")
    (root / "one class" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "one class" / "cat" / "0.png")
    Image.new("RGB", (8, 8)).save(root / "picture.png")
    (root / "empty").mkdir()
    (root / "reviews.csv").write_text("text,label\n" + ROWS)
    (root / "latin.csv").write_bytes(("text,label\n" + ROWS.replace("film", "café")).encode("latin-1"))
    (root / "nets.py").write_text("number = 3\n")
    (root / "broken.py").write_text("1 / 0\n")
    (root / "broken.onnx").write_bytes(b"no model")
    return root


@pytest.mark.parametrize("options", ODD)
def test_an_odd_option_is_one_line_and_status_2(kdarena, folder, options):
    budget = () if "--budget" in options else ("--budget", "30epochs")
    done = kdarena("run", "--plugins", "kd", *budget, "--dry-run", *shlex.split(options), cwd=folder)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("kdarena: ") and "Errno" not in done.stderr


@pytest.mark.parametrize(
    "option", ["images", "text", "teacher", "student", "data-root", "teacher-checkpoint", "teacher-weights", "taps", "columns", "task-from"]
)
def test_an_empty_value_is_named_and_is_not_the_current_folder(kdarena, folder, option):
    done = kdarena("run", "--plugins", "kd", "--tasks", "digits", "--budget", "30epochs", "--dry-run", f"--{option}", "", cwd=folder)
    assert (done.returncode, done.stderr) == (2, f"kdarena: --{option} is empty: give it a value, or leave it out\n")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--teacher-weights ema", "--teacher-weights ema: names weights of a file that is not given; add --teacher-checkpoint FILE, or leave it out"),
        ("--teacher-checkpoint nowhere.pt", "--teacher-checkpoint nowhere.pt: no such file"),
        ("--student torchvision:resnet18 --taps stage1=layer1,stage1=layer2", "stage1 is named twice; name it once"),
    ],
)
def test_what_a_dry_run_would_pass_over_is_named(kdarena, folder, options, problem):
    done = kdarena("run", "--plugins", "kd", "--tasks", "digits", "--budget", "30epochs", "--dry-run", *options.split(), cwd=folder)
    assert done.returncode == 2 and problem in done.stderr


def test_a_stage_of_all_networks_and_of_one_may_both_be_named(kdarena, folder):
    options = ("--student", "torchvision:resnet18", "--taps", "stage1=layer1,student.stage1=layer2")
    done = kdarena("run", "--plugins", "kd", "--tasks", "digits", "--budget", "30epochs", "--dry-run", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
