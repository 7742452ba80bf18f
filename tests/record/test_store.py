import dataclasses
import json

import pytest

from kdarena.plan.allocation import Allocation, leave_out
from kdarena.plan.cost import CostProfile, PhaseProfile, StudentStep
from kdarena.record import checked
from kdarena.record.store import Store

PROFILE = CostProfile("k", (PhaseProfile("train", None, 1.0, 0.1, 100, 1.5, 0.01),), 15, 0.002, 1.0, 0.3, 678, environment={"torch": "2"})
CHOICE = Allocation(60.0, "s", 5, 90.0, "60s", ("a note",))


def test_a_profile_is_read_as_it_was_kept(tmp_path):
    Store(tmp_path).keep_profile(PROFILE)
    assert Store(tmp_path).profile("k") == PROFILE
    assert Store(tmp_path).profile("other") is None


def test_an_allocation_is_read_as_it_was_kept(tmp_path):
    Store(tmp_path).keep_allocation("k", CHOICE)
    assert Store(tmp_path).allocation("k") == CHOICE


def test_the_students_step_is_read_as_it_was_kept(tmp_path):
    Store(tmp_path).keep_student_step("k", StudentStep(0.0021))
    assert Store(tmp_path).student_step("k") == StudentStep(0.0021)
    assert Store(tmp_path).student_step("other") is None


def test_a_command_finds_what_it_got_with_the_longest_of_the_shorter_total_times(tmp_path):
    store = Store(tmp_path)
    for total in (60.0, 600.0, 3600.0):
        store.keep_allocation(f"k{total}", dataclasses.replace(CHOICE, amount=total))
        store.keep_total("family", total, f"k{total}")
    assert store.shorter("family", 1200.0) == (600.0, dataclasses.replace(CHOICE, amount=600.0))
    assert store.shorter("family", 600.0)[0] == 60.0
    assert store.shorter("family", 60.0) is store.shorter("another", 1200.0) is None


def test_a_task_that_a_shorter_total_left_out_has_nothing_to_be_found(tmp_path):
    store = Store(tmp_path)
    store.keep_allocation("k", leave_out("no time"))
    store.keep_total("family", 60.0, "k")
    assert store.shorter("family", 600.0) is None


SPOILED = {
    "empty": (lambda text: "", "it is empty"),
    "torn": (lambda text: text[: len(text) // 2], "it is not whole"),
    "changed": (lambda text: text.replace("0.002", "0.003"), "it was changed after it was written"),
    "another form": (lambda text: "[]", "it is of another form"),
}


@pytest.mark.parametrize(("spoil", "reason"), SPOILED.values(), ids=SPOILED.keys())
def test_a_profile_that_cant_be_trusted_counts_as_missing_with_a_line_and_is_made_again(tmp_path, spoil, reason):
    store, path = Store(tmp_path), tmp_path / "profiles" / "k.json"
    store.keep_profile(PROFILE)
    path.write_text(spoil(path.read_text()))
    with pytest.warns(UserWarning, match=rf"profiles/k\.json: not used \({reason}\); it is made again"):
        assert store.profile("k") is None
    store.keep_profile(PROFILE)
    assert store.profile("k") == PROFILE


def test_a_plan_and_a_step_that_cant_be_trusted_count_as_missing_too(tmp_path):
    store = Store(tmp_path)
    store.keep_allocation("k", CHOICE)
    store.keep_student_step("k", StudentStep(0.0021))
    for path in (tmp_path / "plans" / "k.json", tmp_path / "student_steps" / "k.json"):
        path.write_text(path.read_text()[:-9])
    with pytest.warns(UserWarning, match=r"plans/k\.json: not used \(it is not whole"):
        assert store.allocation("k") is None
    with pytest.warns(UserWarning, match=r"student_steps/k\.json: not used \(it is not whole"):
        assert store.student_step("k") is None


def test_a_file_of_fields_that_this_version_does_not_know_counts_as_missing(tmp_path):
    checked.write(tmp_path / "profiles" / "k.json", {**dataclasses.asdict(PROFILE), "colour": "red"})
    with pytest.warns(UserWarning, match="unknown field 'colour'"):
        assert Store(tmp_path).profile("k") is None


def test_the_plain_files_of_an_earlier_version_are_made_again_without_a_word(tmp_path, recwarn):
    plain = {"profiles/k": dataclasses.asdict(PROFILE), "plans/k": dataclasses.asdict(CHOICE)}
    for name, values in plain.items():
        path = tmp_path / f"{name}.json"
        path.parent.mkdir()
        path.write_text(json.dumps(values))
    store = Store(tmp_path)
    assert (store.profile("k"), store.allocation("k")) == (None, None)
    assert len(recwarn) == 0
    store.keep_allocation("k", CHOICE)
    assert store.allocation("k") == CHOICE
