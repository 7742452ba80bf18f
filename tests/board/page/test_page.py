"""The text of the page: complete, escaped, and honest about what is not known."""

import base64
import gzip
import json
import math
import re
from importlib.resources import files

import pytest
from board.page.conftest import CLOSING, HOSTILE, METHODS

from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.page import _data, page
from kdarena.board.page.curves import MOST_POINTS, over_seeds
from kdarena.board.page.figures import front
from kdarena.board.page.plot import plotly_script, rounded
from kdarena.board.page.recorded import even_limit


def figures(text):
    """The values of every figure by the id of its element."""
    elements = re.findall(r'<figure id="([^"]+)">.*?<script type="application/json">(.*?)</script>', text, re.DOTALL)
    return {name: json.loads(values) for name, values in elements}


def of_kind(text, kind):
    """The values of the first figure of a kind."""
    return next(values for name, values in figures(text).items() if name.endswith(kind))


def trace(values, name):
    """A trace of a figure by its name."""
    return next(one for one in values["data"] if one.get("name") == name)


def test_no_name_ends_an_element_or_begins_one(made):
    markup = re.sub(r'<script type="text/plain".*?</script>', "", made.text, flags=re.DOTALL)
    assert HOSTILE not in markup
    assert CLOSING not in markup
    assert "&lt;b&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;/b&gt;" in markup
    assert not re.search(r"<img|onerror=\"", markup)


def test_data_hold_no_tag_and_are_read_as_they_were_written():
    text = _data({"name": CLOSING, "entity": "&lt;"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"name": CLOSING, "entity": "&lt;"}


def test_the_page_names_no_other_address(made):
    own = re.sub(r'<script type="text/plain".*?</script>|<style>.*?</style>', "", made.text, flags=re.DOTALL)
    assert set(re.findall(r"(?:src|href|action)=\"([^\"]*)\"", own)) == {"data:,", "#board-1"}
    assert "http" not in re.sub(r"http-equiv", "", own)


def test_the_drawing_library_is_in_the_page_and_is_the_one_of_plotly():
    packed = plotly_script()
    unpacked = gzip.decompress(base64.b64decode(packed.text)).decode()
    assert unpacked == files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")
    assert len(packed.text) < 2_500_000


def test_every_run_of_a_row_is_named_with_the_command_that_takes_it(made):
    trained = made.frame[made.frame["status"] == "done"]
    assert all(run_id in made.text for ids in trained["run_ids"] for run_id in ids)
    assert f"kdarena export {made.frame['run_ids'][0][0][:12]} --to student.safetensors" in made.text


def test_a_board_has_all_kinds_of_figures(made):
    kinds = {name.removeprefix("board-1-") for name in figures(made.text)}
    assert {"forest", "time", "front-params", "front-latency_ms", "cost", "audit"} <= kinds
    assert {f"method-{number}-{kind}" for number in range(1, 6) for kind in ("curves", "history", "importance")} <= kinds


def test_the_forest_has_the_corrected_intervals(made):
    values = of_kind(made.text, "forest")
    row = made.frame[made.frame["method"] == "kd"].iloc[0]
    (one,) = [one for one in values["data"] if "kd" in one["y"]]
    place = one["y"].index("kd")
    assert one["x"][place] + one["error_x"]["array"][place] == pytest.approx(row["delta_student_corrected_high"], rel=1e-4)
    assert one["x"][place] - one["error_x"]["arrayminus"][place] == pytest.approx(row["delta_student_corrected_low"], rel=1e-4)


def test_the_students_ladder_and_the_curve_of_a_row_are_drawn_against_time(made):
    values = of_kind(made.text, "time")
    assert trace(values, "student")["x"] == [15.0, 30.0, 60.0]
    assert trace(values, "student")["y"] == [83.0, 85.0, 88.0]
    assert trace(values, "kd")["x"] == [30.0, 60.0]


def test_the_time_of_a_run_is_split_into_what_was_recorded(made):
    values = of_kind(made.text, "cost")
    seconds = {one["name"]: one["x"][one["y"].index("kd")] for one in values["data"]}
    assert seconds["building"] == 1.0
    assert seconds["evaluation"] == 0.5
    assert sum(seconds.values()) == pytest.approx(64.0)


def test_a_learning_curve_is_the_mean_over_seeds(made):
    values = of_kind(made.text, "method-1-curves")
    line = trace(values, "train/ce")
    assert line["y"][0] == pytest.approx(2.0 / 1.2 + 0.1, rel=1e-4)
    assert len(line["x"]) <= MOST_POINTS
    assert trace(values, "validation/top1")["yaxis"] == "y2"


def test_the_history_has_every_trial_of_the_method(made):
    values = of_kind(made.text, "method-1-history")
    assert values["data"][0]["y"] == [86.0 + number for number in range(6)]


def test_a_setting_is_read_with_four_digits(synthetic):
    text = page(leaderboard_frame([synthetic.run("kd", params={"tau": 3.6262506695032806, "hard": True})], {}))
    assert "<dd>hard = True, tau = 3.626</dd>" in text


def test_what_does_not_apply_is_a_line_and_no_row(made):
    table = made.text[made.text.index("<table>") : made.text.index("</table>")]
    assert ">pid<" not in table
    assert "<li>pid: needs attention" in made.text


def test_a_bar_of_ranks_begins_at_the_lowest_and_ends_at_the_highest(made):
    row = made.frame[made.frame["method"] == "student"].iloc[0]
    left, width = 100 * (row["rank_low"] - 1) / len(METHODS), 100 * (row["rank_high"] - row["rank_low"] + 1) / len(METHODS)
    assert f'style="left: {left:.2f}%; width: {width:.2f}%"' in made.text


def test_without_a_row_the_page_says_what_to_run(made):
    assert "kdarena run --plugins all" in page(made.frame.iloc[:0])
    assert "<table>" not in page(made.frame.iloc[:0])


def test_one_seed_has_means_and_no_interval(synthetic):
    text = page(leaderboard_frame([synthetic.run("student"), synthetic.run("kd", value=91.0)], {}))
    assert "90.00</td>" in text
    assert "±" not in text[text.index("<table>") : text.index("</table>")]


def test_a_board_whose_runs_all_failed_names_the_failures(synthetic):
    runs = [synthetic.failed(method, seed) for method in ("student", "kd") for seed in range(2)]
    text = page(leaderboard_frame(runs, {}), runs=runs)
    assert text.count("<small>diverged</small>") == 2
    assert "step 7: term &#39;ce&#39; is nan" in text
    assert figures(text) == {}


def test_records_of_two_versions_of_the_code_are_two_boards_that_say_so(synthetic):
    runs = [synthetic.run("student", code=code, torch="2.13.0", value=value) for code, value in (("a" * 16, 88.0), ("b" * 16, 89.0))]
    text = page(leaderboard_frame(runs, {}), runs=runs)
    assert text.count('<section class="board"') == 2
    assert "kdarena&#39;s code aaaaaaaa" in text and "kdarena&#39;s code bbbbbbbb" in text


def test_equal_values_everywhere_make_a_page(synthetic):
    runs = [run for method in ("student", "kd", "crd") for run in synthetic.runs(method, [90.0, 90.0, 90.0])]
    assert trace(of_kind(page(leaderboard_frame(runs, {}), runs=runs), "forest"), "no clear difference")["x"] == [0.0, 0.0]


def test_a_page_is_the_same_text_when_it_is_made_again(made):
    assert page(made.frame, made.record, runs=made.record.runs()) == made.text


def test_a_curve_leaves_out_what_is_not_finite_and_what_seeds_do_not_share():
    assert over_seeds([[(1, 1.0), (2, math.nan), (3, 3.0)], [(1, 3.0), (2, 1.0), (3, 5.0), (4, 1.0)]]) == ([1, 3], [2.0, 4.0], [1.0, 3.0], [3.0, 5.0])


def test_a_front_holds_what_nothing_beats_in_both():
    assert front([(1.0, 5.0), (2.0, 5.0), (2.0, 7.0), (3.0, 6.0), (1.0, 4.0)]) == {(1.0, 5.0), (2.0, 7.0)}


def test_small_groups_show_all_of_theirs_and_large_ones_share_the_rest():
    assert even_limit([40, 5, 3], 20) == 12
    assert even_limit([2, 3], 20) == 3
    assert even_limit([], 20) == 0


def test_a_figure_has_no_number_that_json_lacks():
    assert rounded({"a": [math.nan, 1.23456789, (math.inf, 2)]}) == {"a": [None, 1.23457, [None, 2]]}
