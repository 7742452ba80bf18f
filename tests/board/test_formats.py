import csv
import io
import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from kdarena.board.caption import caption, further_lines, left_out_lines
from kdarena.board.cells import duration, split_boards
from kdarena.board.formats import csv_text, escape_markdown, json_text, latex, markdown
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.publish import publish
from kdarena.board.screen import clean
from kdarena.board.table import terminal
from kdarena.errors import UserError
from kdarena.plan.spec import Budget, PhaseCost

HOSTILE = "a|b</td><script>alert(1)</script>[red]x[/red] \\input{/etc/passwd} $x_1$ *b* `c`\n\x1b[31m"


@pytest.fixture
def frame(synthetic):
    runs = [
        *synthetic.runs("student", [88.0, 89.0, 88.5]),
        *synthetic.runs("kd-ensemble", [90.0, 91.5, 90.6]),
        *synthetic.runs("kd", [90.2, 91.0, 90.6]),
        *synthetic.runs("brittle", [99.0, 98.0]),
        synthetic.failed("brittle", 2),
        synthetic.failed("crd", 0, "skipped", "needs feature maps"),
    ]
    return leaderboard_frame(runs, {})


@pytest.fixture
def two_boards(synthetic):
    runs = [*synthetic.runs("student", [88.0, 89.0]), *synthetic.runs("student", [77.0, 78.0], budget=Budget(30.0, "s"))]
    return leaderboard_frame(runs, {})


@pytest.fixture
def hostile(synthetic):
    return leaderboard_frame([synthetic.run(HOSTILE, task=HOSTILE), synthetic.failed("kd", 1, "error", HOSTILE, task=HOSTILE)], {})


def printed(frame, width=120):
    return terminal(frame, width).plain


def test_every_board_has_a_table_of_its_own(two_boards):
    assert printed(two_boards).count("digits: top1 on test, budget") == 2
    assert markdown(two_boards).count("### ") == 2
    assert latex(two_boards).count(r"\begin{tabular}") == 2


def test_the_caption_says_what_a_reader_needs(frame):
    text = "\n".join(caption(next(split_boards(frame))))
    for part in (
        "3 seeds",
        "cpu, recorded by an older kdarena, fp32, 1 thread.",
        "Gains below",
        "Supervision is",
    ):
        assert part in text


def test_of_a_gpu_neither_the_caption_nor_the_name_of_a_file_says_a_number_of_threads(synthetic, tmp_path):
    frame = leaderboard_frame([synthetic.run("student", seed, device="cuda", threads=0) for seed in range(2)], {})
    assert "2 seeds on cuda, recorded by an older kdarena, fp32." in "\n".join(caption(next(split_boards(frame))))
    assert publish(frame, tmp_path)[0].name == "digits_60s_cuda_fp32.md"


def test_the_caption_names_each_step_cost_that_is_not_as_exact_as_it_should_be(synthetic):
    def run(method, error):
        return synthetic.run(method, costs=(PhaseCost("train", None, 1.0, 0.02, 2.0, error, 1),))

    runs = [run("student", 0.009), run("kd", 0.021), run("crd", 0.042), run("quest", 0.005)]
    frame = leaderboard_frame(runs, {})
    said = caption(next(split_boards(frame)))
    assert {"kd 2.1%", "crd 4.2%"} == set(only(said, "Step costs are measured to within 2%, except for ").split(", "))


def test_the_caption_of_exact_step_costs_says_nothing_of_them(synthetic):
    frame = leaderboard_frame([synthetic.run("student"), synthetic.run("kd")], {})
    assert not [line for line in caption(next(split_boards(frame))) if "tep costs" in line]


def test_the_caption_says_which_seed_an_interrupted_command_left_out(synthetic):
    frame = leaderboard_frame([*synthetic.runs("student", [88.0, 89.0]), synthetic.run("kd")], {})
    assert "Seed 1 is left out, which some rows do not have yet: repeat the command that was interrupted." in caption(next(split_boards(frame)))


def test_a_reason_that_methods_share_is_given_once(synthetic):
    failed = [synthetic.failed(name, 0, "skipped", reason) for name, reason in (("pid", "no attention"), ("crd", "no maps"), ("sid", "no attention"))]
    lines = left_out_lines(next(split_boards(leaderboard_frame([synthetic.run("student"), *failed], {}))))
    assert sorted(lines) == ["crd: skipped: no maps", "pid, sid: skipped: no attention"]


def test_what_rows_measured_besides_is_given_once_where_it_is_the_same(synthetic):
    measured = {"end": {"prr/entropy": 38.234}, "endd": {"prr/entropy": 6.5}, "kd": {"prr/entropy": 38.234}, "student": {}}
    runs = [
        synthetic.run(method, metrics={"test/top1": 50.0, **{f"test/{name}": value for name, value in further.items()}}) for method, further in measured.items()
    ]
    assert sorted(further_lines(next(split_boards(leaderboard_frame(runs, {}))))) == ["end, kd: prr/entropy 38.23", "endd: prr/entropy 6.5"]


def only(lines, start):
    """What follows a start that one line has."""
    (line,) = [line for line in lines if line.startswith(start)]
    return line.removeprefix(start).removesuffix(".")


def test_with_one_seed_the_caption_says_that_nothing_is_detectable(synthetic):
    frame = leaderboard_frame([synthetic.run("student"), synthetic.run("kd")], {})
    assert "Which gains are missed is not known without student and 2 seeds." in "".join(caption(next(split_boards(frame))))


def test_json_is_one_array_with_null_for_what_does_not_apply(frame):
    rows = json.loads(json_text(frame), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [row["method"] for row in rows] == ["kd-ensemble", "kd", "student", "brittle", "crd"]
    assert rows[3]["p_raw"] is None
    assert rows[4]["mean"] is None
    assert len(rows[0]["run_ids"]) == 3
    assert list(rows[0]) == list(frame.columns)


def test_values_that_are_not_finite_are_null_in_json():
    frame = pd.DataFrame({"a": [math.nan, math.inf, 1.0], "b": [1, 2, 3]})
    assert json.loads(json_text(frame)) == [{"a": None, "b": 1}, {"a": None, "b": 2}, {"a": 1.0, "b": 3}]


def test_an_empty_frame_is_an_empty_array(frame):
    assert json.loads(json_text(frame.iloc[:0])) == []


def test_csv_has_a_heading_and_empty_cells(frame):
    rows = list(csv.DictReader(io.StringIO(csv_text(frame))))
    assert list(rows[0]) == list(frame.columns)
    assert (rows[0]["method"], rows[0]["tuned"], rows[0]["version"]) == ("kd-ensemble", "false", "")
    assert float(rows[0]["mean"]) == frame.iloc[0]["mean"]
    assert len(rows[0]["run_ids"].split()) == 3


def test_csv_keeps_text_from_becoming_a_formula():
    assert csv_text(pd.DataFrame({"error": ["=HYPERLINK()", "fine"], "value": [-1.0, 2.0]})) == "error,value\n'=HYPERLINK(),-1.0\nfine,2.0\n"


def test_markdown_escapes_what_a_plugin_says(hostile):
    text = markdown(hostile)
    assert "<script>" not in text
    assert r"a\|b" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1


def test_markdown_escapes_every_sign_of_markup():
    assert escape_markdown("a|b_c*d`e[f]<g>") == r"a\|b\_c\*d\`e\[f\]\<g\>"


def test_latex_escapes_what_a_plugin_says(hostile):
    text = latex(hostile)
    table = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert r"\input{" not in table
    assert r"\textbackslash{}input" in table
    assert r"\$x\_1\$" in table


def test_latex_is_plain_ascii_outside_of_comments(frame):
    table = "\n".join(line for line in latex(frame).splitlines() if not line.startswith("%"))
    assert table.isascii()
    assert r"\toprule" in table


def test_text_is_cleaned_of_control_characters():
    assert clean("a\x1b[31m\n b\u202ec\x00") == "a [31m b c"


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.0, "0.0s"), (99.94, "99.9s"), (99.96, "1.7m"), (5996, "99.9m"), (5998, "1.7h"), (359_000, "99.7h"), (1e6, "12d")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def test_publishing_writes_each_board_with_the_ids_of_the_runs(frame, tmp_path):
    written = publish(frame, tmp_path / "boards")
    assert [path.name for path in written] == [f"digits_60s_cpu_fp32_1t.{suffix}" for suffix in ("md", "csv", "json", "environment.json")]
    text = written[0].read_text()
    for run_id in (run_id for row in frame["run_ids"] for run_id in row):
        assert run_id in text
    assert len(list(csv.DictReader(io.StringIO(written[1].read_text())))) == 5
    assert json.loads(written[2].read_text()) == json.loads(json_text(frame))


def test_published_json_compares_line_by_line(synthetic, tmp_path):
    def lines(value):
        frame = leaderboard_frame([synthetic.run("student"), synthetic.run("kd", value=value)], {})
        return publish(frame.drop(columns=["run_ids"]).assign(run_ids=[["id"]] * 2), tmp_path)[2].read_text().splitlines()

    first, second = lines(91.0), lines(91.0 + 1e-13)
    changed = [one.split(":")[0].strip() for one, other in zip(first, second, strict=True) if one != other]
    assert set(changed) == {
        '"mean"',
        '"delta_student"',
        '"delta_equal_updates"',
        '"mean_default"',
        '"validation"',
        '"delta_kd"',
        '"time_curve_json"',
        '"validation_curve_json"',
    }
    names = [line.split(":")[0] for line in first if line.startswith('  "')]
    half = len(names) // 2
    assert names[:half] == names[half:] == sorted(names[:half])


def test_the_environment_of_a_board_has_every_value_of_its_runs_once(synthetic, tmp_path):
    runs = [synthetic.run("kd", seed, environment={"torch": "2.13.0", "commit": commit}) for seed, commit in enumerate(("b" * 40, "a" * 40, "b" * 40))]
    other = synthetic.run("kd", 0, environment={"torch": "2.14.0"}, torch="2.14.0")
    written = publish(leaderboard_frame([*runs, other], {}), tmp_path, [*runs, other])
    first, second = (json.loads(path.read_text()) for path in written if path.name.endswith(".environment.json"))
    assert first["environment"] == {"commit": f"{'a' * 40}, {'b' * 40}", "torch": "2.13.0"}
    assert second["environment"] == {"torch": "2.14.0"}
    assert (first["board"]["task"], first["board"]["budget"], second["board"]["torch"]) == ("digits", 60.0, "2.14.0")


def test_a_page_is_published_where_there_is_one(frame, tmp_path):
    assert "index.html" not in [path.name for path in publish(frame, tmp_path)]
    assert publish(frame, tmp_path, page="<p>")[-1].read_text() == "<p>"


def test_publishing_again_writes_the_same_files(frame, tmp_path):
    first = [path.read_bytes() for path in publish(frame, tmp_path)]
    assert [path.read_bytes() for path in publish(frame, tmp_path)] == first
    assert len(list(tmp_path.iterdir())) == 4


def test_boards_that_differ_in_their_data_alone_have_files_of_their_own(synthetic, tmp_path):
    frame = leaderboard_frame([synthetic.run("kd"), synthetic.run("kd", data="other")], {})
    assert len(set(publish(frame, tmp_path))) == 8


def test_a_hostile_task_name_stays_inside_the_folder(synthetic, tmp_path):
    frame = leaderboard_frame([synthetic.run("kd", task="../../evil")], {})
    written = publish(frame, tmp_path / "boards")
    assert all(path.parent == tmp_path / "boards" for path in written)


def test_a_folder_that_cannot_be_written_is_named(frame, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--publish"):
        publish(frame, tmp_path / "file")


@pytest.mark.parametrize(("shared", "said"), [(400.0, ["400 test samples are also in train"]), (1.0, ["1 test sample is also in train"]), (0.0, [])])
def test_the_caption_says_how_many_test_samples_are_also_in_train(synthetic, shared, said):
    runs = [replace(run, result=replace(run.result, system={"test_in_train": shared})) for run in synthetic.runs("kd", [90.0, 91.0])]
    lines = [line for line in caption(next(split_boards(leaderboard_frame(runs, {})))) if "also in train" in line]
    assert [line.partition(":")[0] for line in lines] == said


@pytest.mark.parametrize(("count", "said"), [(7.0, ["7 files of the data could not be used and are left out (--skip-unreadable)."]), (0.0, [])])
def test_the_caption_says_how_many_files_were_left_out(synthetic, count, said):
    runs = [replace(run, result=replace(run.result, system={"files_left_out": count} if count else {})) for run in synthetic.runs("kd", [90.0, 91.0])]
    assert [line for line in caption(next(split_boards(leaderboard_frame(runs, {})))) if "left out" in line] == said


def test_why_steps_were_not_captured_is_said_once_below_a_board_for_all_that_share_it(synthetic):
    eager = {"student": {}, "ts": {"decode": "it reads"}, "ts-seq": {"decode": "it reads"}}
    runs = [run for name, reasons in eager.items() for run in synthetic.runs(name, [90.0, 91.0], capture=True, eager=reasons)]
    said = caption(next(split_boards(leaderboard_frame(runs, {}))))
    assert [line for line in said if "not captured" in line] == ["ts, ts-seq: steps not captured: decode: it reads"]
    assert "each step captured once and replayed" in said[0]


def test_captured_and_eager_runs_are_on_boards_of_their_own(synthetic):
    runs = [*synthetic.runs("student", [88.0, 89.0]), *synthetic.runs("student", [77.0, 78.0], capture=True)]
    assert sorted(len(board) for board in split_boards(leaderboard_frame(runs, {}))) == [1, 1]
