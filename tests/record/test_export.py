import pytest

from kdarena.errors import UserError
from kdarena.files import digest_of
from kdarena.record.export import export_student


def logged(record, synthetic, purpose="final", checkpoint="student.safetensors"):
    record.checkpoints.mkdir(exist_ok=True)
    if checkpoint:
        (record.checkpoints / checkpoint).write_bytes(b"weights")
    spec = synthetic.spec(purpose=purpose)
    return record.log(spec, synthetic.result(spec, checkpoint=checkpoint), setting="default", facts={})


def test_the_student_of_a_run_is_copied_to_the_file(record, synthetic, tmp_path):
    run_id = logged(record, synthetic)
    written = export_student(record, run_id[:10], tmp_path / "s.safetensors")
    assert written.read_bytes() == b"weights"
    assert record.checkpoint(run_id).read_bytes() == b"weights"


def test_an_existing_file_is_replaced(record, synthetic, tmp_path):
    (tmp_path / "s.safetensors").write_bytes(b"old")
    export_student(record, logged(record, synthetic), tmp_path / "s.safetensors")
    assert (tmp_path / "s.safetensors").read_bytes() == b"weights"


def test_an_unknown_run_is_an_error(record, tmp_path):
    with pytest.raises(UserError, match="no run 'abc'"):
        export_student(record, "abc", tmp_path / "s.safetensors")


@pytest.mark.parametrize(("purpose", "reason"), [("teacher", "trained a teacher"), ("tune", "is a trial")])
def test_only_students_of_finals_and_controls_are_exported(record, synthetic, tmp_path, purpose, reason):
    run_id = logged(record, synthetic, purpose)
    with pytest.raises(UserError, match=reason):
        export_student(record, run_id, tmp_path / "s.safetensors")


def test_a_run_that_left_no_student_says_so(record, synthetic, tmp_path):
    run_id = logged(record, synthetic, checkpoint=None)
    with pytest.raises(UserError, match="left no checkpoint"):
        export_student(record, run_id, tmp_path / "s.safetensors")


def test_a_missing_folder_is_named_with_the_command_that_makes_it(record, synthetic, tmp_path):
    run_id = logged(record, synthetic)
    with pytest.raises(UserError, match="mkdir -p"):
        export_student(record, run_id, tmp_path / "no" / "s.safetensors")


def test_a_folder_in_place_of_the_file_is_an_error(record, synthetic, tmp_path):
    run_id = logged(record, synthetic)
    with pytest.raises(UserError, match="name a file"):
        export_student(record, run_id, tmp_path)


def test_a_student_that_was_changed_is_not_exported(record, synthetic, tmp_path):
    record.checkpoints.mkdir()
    (record.checkpoints / "s.safetensors").write_bytes(b"weights")
    spec = synthetic.spec()
    result = synthetic.result(spec, checkpoint="s.safetensors", weights=digest_of(record.checkpoints / "s.safetensors"))
    run_id = record.log(spec, result, setting="default", facts={})
    export_student(record, run_id, tmp_path / "whole.safetensors")
    (record.checkpoints / "s.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match="was changed after it was recorded; repeat the command"):
        export_student(record, run_id, tmp_path / "changed.safetensors")
    assert [path.name for path in tmp_path.iterdir() if "changed" in path.name] == []
