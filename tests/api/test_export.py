"""Students that leave: folders that are loaded where kdarena is not."""

import importlib.metadata
import json
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch

from kdarena.api.export import export
from kdarena.errors import UserError
from kdarena.files import sha256_of
from kdarena.tracks import find_card, load_task
from kdarena.tracks.checkpoints import save
from kdarena.tracks.values import Setting

TASKS = ("digits", "scenes", "scenes-depth", "scenes-boxes", "grammar", "tones")
A_FEW = ("digits", "tones")
"""A program, and the source of a network."""
ELSEWHERE = """
import importlib.util, pathlib, runpy, sys, torch
assert all(importlib.util.find_spec(name) is None for name in ("kdarena", "safetensors", "transformers", "numpy"))
for folder in sys.argv[1:]:
    loaded = runpy.run_path(str(pathlib.Path(folder) / "load.py"), run_name="__main__")
    probe = torch.load(folder + ".probe", weights_only=True)
    with torch.no_grad():
        scores = loaded["student"](*probe["inputs"])
    scores = scores if isinstance(scores, torch.Tensor) else scores.logits
    print("RESULT", folder.rpartition("/")[2], float((scores - probe["scores"]).abs().max() / probe["scores"].abs().max().clamp(min=1)))
"""


@pytest.fixture
def recorded(record, synthetic):
    """Records a student's run on a task, with weights that are not those it starts from; gives its id and the network."""

    def log(task="digits", seeds=1, **changes):
        card = find_card(task)
        loaded = load_task(card, Setting())
        network = loaded.new_network(card.student)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        record.checkpoints.mkdir(exist_ok=True)
        facts = {"track": card.track, "metric": card.metric}
        ids = []
        for seed in range(seeds):
            spec = synthetic.spec(seed=seed, task=task, data=card.digest(None), **changes)
            weights = save(network, record.checkpoints / f"{spec.key}.safetensors")
            result = synthetic.result(spec, checkpoint=f"{spec.key}.safetensors", weights=weights, metrics={f"test/{card.metric}": 90.0 + seed})
            ids.append(record.log(spec, result, setting="default", facts=facts))
        return ids[0], loaded, network.eval()

    return log


@pytest.fixture(scope="module")
def torch_alone(tmp_path_factory):
    """A folder with links to torch and what it requires, and nothing else."""
    folder, wanted, seen = tmp_path_factory.mktemp("torch"), ["torch"], set()
    while wanted:
        name = wanted.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        wanted += [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in found.requires or () if "extra ==" not in line]
        for top in {path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(found.locate_file(top))
    return folder


def probe_of(task, network):
    """Inputs as a user has them, and what the student is scored by in kdarena."""
    rows = torch.arange(5)
    batch = task.batch("test", rows, rows, None)
    with torch.no_grad():
        scores = task.answered(network, batch).logits
    if task.card.track == "classification":
        pixels = torch.from_numpy(task._data.test_images[:5]).permute(0, 3, 1, 2).float() / task._data.peak
        return (pixels,), scores
    if task.card.track == "detection":
        images, _ = task._sources["test"].take(rows)
        pixels = images.float() / 255
        return (pixels,), task.deployed(network).scores({"images": pixels})
    if task.card.track == "segmentation":
        from kdarena.tracks.segmentation.models.resample import upsampled

        images, _ = task._sources["test"].take(rows)
        return (images.float() / 255,), upsampled(scores, task.data.test.size)
    return (batch.inputs, task.decoder_inputs(batch.targets)) if task.decodes else (batch.inputs,), scores


@pytest.mark.parametrize("tasks", [A_FEW, pytest.param(TASKS, marks=pytest.mark.slow)], ids=["a few", "every track"])
def test_students_give_the_same_scores_where_torch_is_alone(recorded, record, torch_alone, tmp_path, tasks):
    folders = []
    for task in tasks:
        run_id, loaded, network = recorded(task)
        folders.append(export(run_id, tmp_path / task, out=record.directory))
        inputs, scores = probe_of(loaded, network)
        torch.save({"inputs": inputs, "scores": scores}, f"{folders[-1]}.probe")
    code = f"import sys; sys.path.insert(0, {str(torch_alone)!r}){ELSEWHERE}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, *map(str, folders)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    differences = dict(re.findall(r"RESULT (\S+) (\S+)", done.stdout))
    assert differences.keys() == {*tasks}
    assert max(map(float, differences.values())) <= 1e-6, differences
    assert done.stdout.count("the scores of the example differ by") == len(tasks)


def test_a_folder_holds_what_is_needed_and_a_card_with_the_interval_of_the_board(recorded, record, tmp_path):
    run_id, _, _ = recorded(seeds=3)
    folder = export(run_id[:8], tmp_path / "student", out=record.directory)
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "model.pt2", "config.json", "example.pt", "load.py", "README.md", "card.json"}
    config = json.loads((folder / "config.json").read_text())
    assert config["preparation"] == {"size": [8, 8], "channels": 1, "peak": 16.0, "mean": [0.3051], "std": config["preparation"]["std"]}
    assert (config["labels"][9], config["inputs"]["images"]) == ("9", {"type": "float32", "shape": ["batch", 1, 8, 8]})
    card = json.loads((folder / "card.json").read_text())
    assert (card["method"], card["mean"], card["seeds"], len(card["run_ids"])) == ("kd", 91.0, 3, 3)
    assert card["low"] < 91 < card["high"]
    assert card["files"]["model.pt2"] == config["files"]["model.pt2"] == sha256_of(folder / "model.pt2")
    assert "91.00 in the mean, 95 % interval" in (folder / "README.md").read_text()


def test_a_changed_file_is_named_where_the_student_is_loaded(recorded, record, tmp_path):
    folder = export(recorded()[0], tmp_path / "student", out=record.directory)
    (folder / "model.pt2").write_bytes(b"other")
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(folder / "load.py"))
    assert str(error.value) == f"{folder / 'model.pt2'}: it is not the file that was exported; export the student again"


def test_an_onnx_student_gives_the_same_scores(recorded, record, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run_id, loaded, network = recorded()
    folder = export(run_id, tmp_path / "student", out=record.directory, format="onnx")
    (pixels,), scores = probe_of(loaded, network)
    (given,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"images": pixels.numpy()})
    assert np.abs(given - scores.numpy()).max() < 1e-4
    assert json.loads((folder / "config.json").read_text())["opset"]
    code = "import numpy, load; p, n = load.answer(images=numpy.load('in.npy')); numpy.savez('out.npz', p=p, n=n)"
    np.save(folder / "in.npy", pixels.numpy())
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    with np.load(folder / "out.npz") as answer:
        assert (answer["n"] == scores.argmax(dim=1).numpy()).all()
        assert np.abs(answer["p"] - scores.softmax(dim=1).max(dim=1).values.numpy()).max() < 1e-4


def test_a_text_student_is_loaded_by_its_library(recorded, record, tmp_path):
    run_id, loaded, network = recorded("grammar")
    folder = export(run_id, tmp_path / "student", out=record.directory, format="hf")
    from transformers import AutoModelForSequenceClassification

    library = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    (ids,), scores = probe_of(loaded, network)
    with torch.no_grad():
        given = library(ids, attention_mask=ids != 0).logits
    assert torch.allclose(given, scores, atol=1e-5)
    assert library.config.id2label == {0: "unacceptable", 1: "acceptable"}


@pytest.mark.parametrize(
    ("task", "format", "reason"),
    [
        ("digits", "hf", "digits-student is no network of hf"),
        ("digits", "timm", "digits-student is no network of timm"),
        ("tones", "onnx", "torch's exporter unrolls recurrent layers"),
    ],
)
def test_what_a_student_can_not_be_is_said_in_one_line_and_nothing_is_left(recorded, record, tmp_path, task, format, reason):
    run_id, _, _ = recorded(task)
    with pytest.raises(UserError, match=reason) as error:
        export(run_id, tmp_path / "student", out=record.directory, format=format)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir() if "student" in path.name] == []


def test_a_folder_with_other_files_is_never_replaced(recorded, record, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for force in (False, True):
        with pytest.raises(UserError, match="the folder holds other files; name a new folder"):
            export(recorded()[0], tmp_path / "mine", out=record.directory, force=force)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"


def test_an_earlier_export_is_replaced_as_a_whole_where_that_is_asked_for(recorded, record, tmp_path):
    run_id, _, _ = recorded()
    (tmp_path / "student").mkdir()
    folder = export(run_id, tmp_path / "student", out=record.directory)
    with pytest.raises(UserError, match="exported there already; name a new folder, or replace it with --force"):
        export(run_id, folder, out=record.directory)
    export(run_id, folder, out=record.directory, format="torch.export", force=True)
    assert (folder / "model.pt2").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"out", "student"}


def test_a_student_whose_data_changed_is_not_exported(recorded, record, tmp_path, synthetic):
    run_id, _, _ = recorded()
    spec = synthetic.spec(data="other", seed=7)
    weights = save(torch.nn.Linear(1, 1), record.checkpoints / "other.safetensors")
    other = record.log(spec, synthetic.result(spec, checkpoint="other.safetensors", weights=weights), setting="default", facts={"metric": "top1"})
    with pytest.raises(UserError, match="its data are not those that run .* was trained on"):
        export(other, tmp_path / "student", out=record.directory)
    assert run_id


def test_a_file_gets_the_weights_alone(recorded, record, tmp_path):
    run_id, _, _ = recorded()
    assert export(run_id, tmp_path / "s.safetensors", out=record.directory) == tmp_path / "s.safetensors"
    with pytest.raises(UserError, match="--format onnx writes a folder"):
        export(run_id, tmp_path / "s.safetensors", out=record.directory, format="onnx")


def test_features_of_speech_are_computed_elsewhere_as_here(recorded, record, tmp_path):
    from kdarena.tracks.speech import features, tones

    run_id, loaded, _ = recorded("tones")
    folder = export(run_id, tmp_path / "student", out=record.directory)
    utterance = next(tones.utterances(tones.TEST))
    elsewhere = runpy.run_path(str(folder / "load.py"))["features"](torch.from_numpy(utterance.far))
    here = torch.from_numpy(features.features(utterance.far, tones.RATE, tones.BANDS))[None]
    wanted = loaded._inputs(here, torch.ones(here.shape[:2], dtype=torch.bool))
    assert elsewhere.shape == wanted.shape
    assert torch.allclose(elsewhere, wanted, atol=2e-2)  # both are rounded to fp16, in which the last bit may fall either way
