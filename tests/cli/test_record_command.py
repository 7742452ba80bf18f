"""``kdarena record``: MLflow is written again, older directories are converted."""

import shutil
import subprocess
import sys

import pytest

from kdarena.record.runs import Record


@pytest.fixture
def out(empty_output, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return shutil.copytree(empty_output, tmp_path / "out")


@pytest.mark.parametrize("command", ["mlflow", "convert"])
def test_without_a_record_it_is_one_line_and_status_2(kdarena, tmp_path, command):
    done = kdarena("record", command, "--out", tmp_path / "nowhere")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "kdarena run" in done.stderr


def test_mlflow_that_cant_be_opened_is_one_line_and_status_2(kdarena, out, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "broken://")
    done = kdarena("record", "mlflow", "--out", out)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "MLflow can't open it" in done.stderr


def test_mlflow_is_not_written_while_a_command_is_at_work(kdarena, out):
    code = "import sys, pathlib, kdarena.record.output as o; held = o.lock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        done = kdarena("record", "mlflow", "--out", out)
        holder.stdin.close()
    assert (done.returncode, "another kdarena is writing there" in done.stderr) == (2, True)


def test_a_directory_of_this_format_is_not_converted(kdarena, out):
    done = kdarena("record", "convert", "--out", out)
    assert (done.returncode, "nothing to convert" in done.stderr) == (2, True)


def test_a_run_file_that_cant_be_read_is_one_line_and_the_board_is_made_of_the_others(kdarena, out, synthetic):
    record = Record.open(out)
    ids = []
    for seed in range(2):
        spec = synthetic.spec("student", seed)
        ids.append(record.log(spec, synthetic.result(spec), setting="default", facts={"metric": "top1", "track": "classification"}))
    record.__exit__(KeyboardInterrupt, None, None)
    (out / "runs" / f"{ids[0]}.json").write_text("{")
    done = kdarena("leaderboard", "--format", "json", "--out", out)
    assert done.returncode == 0
    assert ids[1] in done.stdout and ids[0] not in done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert f"{ids[0]}.json: left out" in line


def test_the_page_is_html_on_standard_output_and_nothing_else(kdarena, out, synthetic):
    record = Record.open(out)
    spec = synthetic.spec("student")
    run_id = record.log(spec, synthetic.result(spec), setting="default", facts={"metric": "top1", "track": "classification"})
    record.__exit__(KeyboardInterrupt, None, None)
    done = kdarena("leaderboard", "--format", "html", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("<!doctype html>") and done.stdout.endswith("</html>\n")
    assert run_id in done.stdout


def test_the_page_of_an_empty_record_says_what_to_run(kdarena, out):
    done = kdarena("leaderboard", "--format", "html", "--out", out)
    assert done.returncode == 0
    assert "kdarena run --plugins all" in done.stdout
