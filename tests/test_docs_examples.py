"""What the pages on exporting and on recipes show is run, and what they state is so."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdarena.cli.app import app
from kdarena.tracks import find_card, load_task
from kdarena.tracks.checkpoints import save
from kdarena.tracks.values import Setting

DOCS = Path(__file__).parent.parent / "docs"


def blocks(page, language=""):
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def run_id(record, synthetic):
    card = find_card("digits")
    spec, path = synthetic.spec(data=card.digest(None)), record.checkpoints / "s.safetensors"
    path.parent.mkdir(exist_ok=True)
    weights = save(load_task(card, Setting()).new_network(card.student), path)
    facts = {"track": card.track, "metric": card.metric}
    return record.log(spec, synthetic.result(spec, checkpoint=path.name, weights=weights), setting="default", facts=facts)


def test_the_examples_of_exporting_run(run_id, record, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in blocks("export.md")[0].replace("RUN", run_id[:8]).strip().splitlines():
        program, *arguments = shlex.split(line)
        if program == "kdarena":
            done = CliRunner().invoke(app, [*arguments, "--out", str(record.directory)])
            assert done.exit_code == 0, (line, done.output)
        else:
            said = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout
            assert "the scores of the example differ by" in said
    (example,) = blocks("export.md", "python")
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(compile(example, "export.md", "exec"), {})
    monkeypatch.delitem(sys.modules, "load")
    assert len(re.findall(r"'\d'", capsys.readouterr().out)) == 5


def test_the_example_of_a_recipe_is_a_plan(tmp_path):
    (line,) = blocks("recipes.md")[0].strip().splitlines()
    done = CliRunner().invoke(app, [*shlex.split(line)[1:], "--dry-run", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "digits@modern" in done.output


def test_the_page_on_recipes_states_what_the_recipe_is():
    page, recipe = (DOCS / "recipes.md").read_text(), find_card("digits@modern").recipe
    assert f"learning rate {recipe.lr:g}, decay {recipe.weight_decay:g}" in page
    assert f"warm-up over {recipe.warmup:g} of the run" in page and f"| smoothed labels | {recipe.smoothing:g} |" in page
    assert f"α {recipe.mixup:.1f} and {recipe.cutmix:.1f}" in page and f"{recipe.erasing:g} of the images" in page
    assert page.count(f"{recipe.averaged:g} of the run") == 2
