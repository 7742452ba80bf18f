"""Layers of two encoders: which belong together, whether they can be compared, and a student made of the teacher's."""

from collections.abc import Sequence

from torch import nn

from kdarena import NotApplicable, Outputs


def layer_map(student: Outputs, teacher: Outputs) -> tuple[int, ...]:
    """g(1) … g(N_S), counted from 1: g(k) = k · N_T / N_S.

    Args:
        student, teacher: of the same inputs.

    Raises:
        NotApplicable: a network shows no attention, or N_S does not divide N_T, or heads or widths differ.
    """
    ours, theirs = len(student.attentions), len(teacher.attentions)
    if not ours or theirs % ours or not theirs:
        raise NotApplicable(f"it needs a teacher with a multiple of the student's layers of attention; the student has {ours}, the teacher {theirs}")
    for what, of_student, of_teacher in (
        ("heads", student.attentions[0].shape[1], teacher.attentions[0].shape[1]),
        ("entries in a hidden state", student.hidden[0].shape[2], teacher.hidden[0].shape[2]),
    ):
        if of_student != of_teacher:
            raise NotApplicable(f"it compares layers entry by entry: the student has {of_student} {what}, the teacher {of_teacher}; take a pair with as many")
    return tuple(k * (theirs // ours) for k in range(1, ours + 1))


def encoder_layers(network: nn.Module, count: int) -> Sequence[nn.Module]:
    """The layers of an encoder, first to last.

    Raises:
        NotApplicable: the network has no list of so many modules, or several.
    """
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if len(lists) != 1:
        raise NotApplicable(f"{type(network).__name__} has {len(lists)} lists of {count} modules; one is expected, the encoder's layers")
    return list(lists[0])


def embedder(network: nn.Module) -> nn.Module:
    """What makes hidden states of tokens: the submodule named ``embeddings``.

    Raises:
        NotApplicable: there is none, or there are several.
    """
    named: list[nn.Module] = [module for name, module in network.named_modules() if name.rpartition(".")[2] == "embeddings"]
    if len(named) != 1:
        raise NotApplicable(f"{type(network).__name__} has {len(named)} submodules named 'embeddings'; one is expected")
    return named[0]


def start_from_teacher(student: nn.Module, teacher: nn.Module, g: Sequence[int]) -> None:
    """Copy the teacher's embeddings, and its layer g(k) to the student's layer k; the rest of the student stays fresh.

    Args:
        g: the layer map, a number of the teacher's for each of the student's layers.

    Raises:
        NotApplicable: shapes differ.
    """
    ours = encoder_layers(student, len(g))
    theirs = encoder_layers(teacher, g[-1])
    _copy("embeddings", embedder(student), embedder(teacher))
    for k, of_teacher in enumerate(g, start=1):
        _copy(f"layer {k}", ours[k - 1], theirs[of_teacher - 1])


def _copy(what: str, to: nn.Module, source: nn.Module) -> None:
    given = source.state_dict()
    if {name: tensor.shape for name, tensor in to.state_dict().items()} != {name: tensor.shape for name, tensor in given.items()}:
        raise NotApplicable(f"the student's {what} can't start from the teacher's, whose shapes differ; set from_teacher=false")
    to.load_state_dict(given)
