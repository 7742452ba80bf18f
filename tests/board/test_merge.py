"""Records of several directories as one: what joins, and what is refused with what differs."""

from dataclasses import replace

import pytest

from kdarena.board.cells import name_of
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.merge import Part, merge
from kdarena.errors import UserError
from kdarena.plan.spec import Budget, PhaseCost
from kdarena.record.declarations import Declaration

STUDENT = [88.0, 89.0, 88.5]
KD = [90.0, 91.5, 90.6]
FLOP = {"budget": Budget(1e9, "flop"), "costs": (PhaseCost("train", None, 1.0, 1e5, None, None, 10**5),)}


def part(name, *runs, **sources):
    return Part(name, runs, {method: Declaration("paper", source=source) for method, source in sources.items()})


def board(*parts):
    runs, methods = merge(parts)
    return {name_of(row): row for row in leaderboard_frame(runs, methods).to_dict("records")}


def refused(*parts):
    with pytest.raises(UserError) as raised:
        merge(parts)
    (line,) = str(raised.value).splitlines()
    return line


# what joins
def test_seeds_of_two_records_are_one_row(synthetic):
    first = [run for method, values in (("student", STUDENT), ("kd", KD)) for run in synthetic.runs(method, values, **FLOP)]
    second = [synthetic.run(method, seed, 90.0 + seed, **FLOP) for method in ("student", "kd") for seed in (3, 4)]
    rows = board(part("a", *first), part("b", *second))
    assert {name: (row["seeds"], row["status"]) for name, row in rows.items()} == {"student": (5, "done"), "kd": (5, "done")}
    assert rows["kd"]["mean"] == pytest.approx((sum(KD) + 93.0 + 94.0) / 5)


def test_methods_of_two_records_are_rows_of_one_board_each_run_once(synthetic):
    student = synthetic.runs("student", STUDENT, **FLOP)
    again = [replace(run, run_id=f"{number:032x}") for number, run in enumerate(student, 900)]
    rows = board(part("a", *student, *synthetic.runs("kd", KD, **FLOP)), part("b", *again, *synthetic.runs("dist", KD[::-1], **FLOP)))
    assert {name: (row["seeds"], row["rank"], row["family"]) for name, row in rows.items()} == {"kd": (3, 2, 3), "dist": (3, 1, 3), "student": (3, 3, 3)}


def test_the_order_in_which_directories_are_named_changes_nothing(synthetic):
    first, second = part("a", *synthetic.runs("student", STUDENT, **FLOP)), part("b", *synthetic.runs("kd", KD, **FLOP))
    assert merge([first, second])[0] == merge([second, first])[0]


def test_records_of_other_tasks_have_boards_of_their_own(synthetic):
    rows = board(part("a", *synthetic.runs("kd", KD)), part("b", *synthetic.runs("student", STUDENT, task="tones", code="another")))
    assert {row["task"] for row in rows.values()} == {"digits", "tones"}


def test_a_record_of_two_budgets_joins_one_that_has_one_of_them(synthetic):
    long = synthetic.runs("kd", KD, **FLOP | {"budget": Budget(9e9, "flop")})
    runs, _ = merge([part("a", *synthetic.runs("kd", KD, **FLOP), *long), part("b", *synthetic.runs("student", STUDENT, **FLOP))])
    assert len(runs) == 9


def test_that_a_method_is_skipped_in_one_record_is_no_difference(synthetic):
    skipped = synthetic.failed("crd", 0, "skipped", "no maps", reference=None, teachers=(), **FLOP)
    rows = board(part("a", *synthetic.runs("student", STUDENT, **FLOP), skipped), part("b", *synthetic.runs("kd", KD, **FLOP)))
    assert rows["crd"]["status"] == "skipped"


@pytest.mark.parametrize(("sources", "names"), [(("x", "x"), {"kd"}), (("x", ""), {"kd"}), (("x", "y"), {"kd @aaaaaaaa", "kd @bbbbbbbb"})])
def test_of_a_method_whose_code_the_records_disagree_on_each_version_has_a_row(synthetic, sources, names):
    code = {"x": "a" * 16, "y": "b" * 16, "": ""}
    first = synthetic.runs("kd", KD, source=code["x"], **FLOP)
    second = synthetic.runs("kd", KD, source=code["y"], **FLOP)
    assert board(*(part(name, *runs, kd=code[source]) for name, runs, source in zip("ab", (first, second), sources, strict=True))).keys() == names


# what is refused
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"code": "5e6f7a8b9c"}, "kdarena's code (1a2b3c4d and 5e6f7a8b)"),
        ({"data": "other data"}, "data of the task (data and other da)"),
        ({"budget": Budget(2e9, "flop")}, "budget (1000000000 flop and 2000000000 flop)"),
        ({"budget": Budget(1e9, "epochs")}, "budget (1000000000 flop and 1000000000 epochs)"),
        ({"device": "cuda", "device_name": "NVIDIA H100"}, "device (cpu and cuda), model of the device (unknown and NVIDIA H100)"),
        ({"torch": "2.14.0"}, "torch (2.13.0 and 2.14.0)"),
        ({"threads": 8}, "threads (1 and 8)"),
        ({"precision": "bf16"}, "precision (fp32 and bf16)"),
        ({"protocol": "published"}, "protocol (validated and published)"),
        ({"reference": "fedcba9876543210"}, "reference teacher (01234567 and fedcba98)"),
    ],
)
def test_records_that_do_not_compare_are_refused_and_the_line_says_what_differs(synthetic, changes, says):
    same = FLOP | {"code": "1a2b3c4d5e", "torch": "2.13.0"}
    line = refused(part("here/a", *synthetic.runs("student", STUDENT, **same)), part("b", *synthetic.runs("student", STUDENT, **same | changes)))
    assert line == f"here/a and b can't be merged: on digits they differ in {says}; leave one out, or repeat it as the other was run"


def test_the_two_directories_that_differ_are_named(synthetic):
    same = synthetic.runs("student", STUDENT, **FLOP)
    assert refused(part("a", *same), part("b", *same), part("c", *synthetic.runs("kd", KD, **FLOP, threads=2))).startswith("a and c can't be merged")


def test_of_several_boards_those_that_differ_least_are_compared(synthetic):
    near = synthetic.runs("student", STUDENT, **FLOP, threads=2)
    far = synthetic.runs("student", STUDENT, threads=2, precision="bf16", protocol="published")
    assert "differ in threads (1 and 2); leave" in refused(part("a", *synthetic.runs("student", STUDENT, **FLOP)), part("b", *far, *near))


def test_budgets_of_time_that_each_directory_priced_for_itself_are_refused(synthetic):
    other = (PhaseCost("train", None, 1.0, 0.0101, 1.0, 0.005, 1000),)
    line = refused(part("a", *synthetic.runs("student", STUDENT)), part("b", *synthetic.runs("student", STUDENT, costs=other)))
    assert "the step costs of student differ, which each directory measures for itself where the budget is time" in line


def test_budgets_of_time_with_the_same_prices_join(synthetic):
    rows = board(part("a", *synthetic.runs("student", STUDENT)), part("b", *synthetic.runs("student", STUDENT), *synthetic.runs("kd", KD)))
    assert rows["student"]["seeds"] == 3 and rows["kd"]["rank"] == 1


@pytest.mark.parametrize("holds", ["nothing", "trials", "skipped"])
def test_a_record_without_a_final_run_is_refused_by_name(synthetic, holds):
    runs = {"nothing": [], "trials": [synthetic.run("kd", purpose="tune")], "skipped": [synthetic.failed("crd", 0, "skipped", "no maps", reference=None)]}[
        holds
    ]
    assert refused(part("a", *synthetic.runs("kd", KD)), part("empty", *runs)).startswith("empty holds no final run")


def test_a_task_cannot_write_to_the_terminal(synthetic):
    line = refused(part("a", synthetic.run("kd", task="\x1b[31mred\n")), part("b", synthetic.run("kd", task="\x1b[31mred\n", threads=2)))
    assert "\x1b" not in line
