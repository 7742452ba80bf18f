"""What a worker answers to the jobs that it was given together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kdarena.engines.engine import Spec
from kdarena.engines.state import note_of
from kdarena.execute.execute import execute_profile, execute_together
from kdarena.execute.together import Disturbed, poisoned
from kdarena.execute.workspace import Workspace
from kdarena.plan.cost import ProfileSpec
from kdarena.plan.spec import RunSpec


def answers_to(
    specs: Sequence[Spec], workspace: Workspace, notes: Callable[[str], tuple[str, ...]], changes: Callable[[], list[str]]
) -> Iterator[dict[str, Any]]:
    """The answers to a profile, to a run, or to several runs side by side; the last of them says whether it is the last one of this process.

    Args:
        notes: says of a method what code it has loaded.
        changes: says what of the process is not as it was.
    """
    first = specs[0]
    if isinstance(first, ProfileSpec):
        profile = execute_profile(first, workspace)
        notes(first.method)  # what it loaded is not loaded again by a run
        yield {"result": dataclasses.asdict(profile), "last": bool(changes()) or (profile.status == "error" and poisoned(workspace.device))}
        return
    runs = [spec for spec in specs if isinstance(spec, RunSpec)]
    under_way = len(runs)
    try:
        for spec, result in execute_together(runs, workspace):
            under_way -= 1
            changed = changes()
            lines = (*result.notes, *notes(spec.method), *([note_of(changed)] if changed else []))
            useless = bool(changed) or (result.status == "error" and poisoned(workspace.device))
            yield {"result": dataclasses.asdict(dataclasses.replace(result, notes=lines)), "last": useless and not under_way}
    except Disturbed as reason:
        yield {"again": str(reason), "last": True}
