"""What a worker died of is said as it was."""

import signal

import pytest

from kdarena.engines.death import count_in, killed_for_memory, status_of_exit


def test_a_kill_from_outside_is_killed_and_one_for_memory_is_oom():
    assert status_of_exit(-signal.SIGKILL)[0] == "killed"
    assert status_of_exit(-signal.SIGTERM)[0] == "killed"
    assert status_of_exit(-signal.SIGKILL, memory_ran_out=True)[0] == "oom"


def test_what_the_engine_killed_for_its_silence_is_a_timeout():
    assert status_of_exit(-signal.SIGKILL, silent=300.0, memory_ran_out=True)[0] == "timeout"


def test_a_fault_of_its_own_is_an_error_that_names_it():
    assert status_of_exit(-signal.SIGABRT) == ("error", "the worker died of SIGABRT")
    assert status_of_exit(-40) == ("error", "the worker died of signal 40")
    assert status_of_exit(0, memory_ran_out=True) == ("error", "the worker exited with status 0")


def system(root, files):
    """Files of a system under a folder, a file by name."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


VMSTAT = {"proc/vmstat": "nr_free_pages 12\noom_kill 7\n"}
SECOND = {"proc/5/cgroup": "0::/user/job\n", "sys/fs/cgroup/user/memory.events": "low 0\noom 4\noom_kill 3\n"}
FIRST = {"proc/5/cgroup": "4:memory:/job\n1:cpu:/\n", "sys/fs/cgroup/memory/job/memory.oom_control": "under_oom 0\noom_kill 2\n"}


@pytest.mark.parametrize(("files", "count"), [(VMSTAT, 7), (VMSTAT | SECOND, 3), (VMSTAT | FIRST, 2)])
def test_kills_for_memory_are_counted_in_the_nearest_group_that_counts_them_or_on_the_machine(tmp_path, files, count):
    file, counted = killed_for_memory(5, system(tmp_path, files))
    assert (counted, count_in(file)) == (count, count)


def test_where_nothing_counts_kills_for_memory_none_is_known(tmp_path):
    assert killed_for_memory(5, tmp_path) is None
