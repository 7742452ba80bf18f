from dataclasses import dataclass

import pytest

from kdarena import Choice, Flag, Float, Int, Params
from kdarena.params import make_params, tunables


@dataclass(frozen=True)
class Example(Params):
    temperature: float = Float(4.0, 1.0, 10.0, log=True, source="paper")
    words: int = Int(64, 8, 512, source="code", cost=True)
    reduction: str = Choice("mean", ("mean", "sum"), source="ours")
    detach: bool = Flag(True, source="ours")


def test_every_field_names_its_default_source_and_range():
    found = tunables(Example)
    assert list(found) == ["temperature", "words", "reduction", "detach"]
    assert (found["temperature"].default, found["temperature"].source, found["temperature"].describe_range()) == (4.0, "paper", "1 to 10, log")
    assert found["words"].cost


def test_choices_and_flags_are_not_tuned_unless_asked_for():
    assert [name for name, tunable in tunables(Example).items() if tunable.tune] == ["temperature", "words"]


@pytest.mark.parametrize(("name", "text", "value"), [("temperature", "2.5", 2.5), ("words", "32", 32), ("reduction", "sum", "sum"), ("detach", "no", False)])
def test_a_value_is_read_as_its_field_says(name, text, value):
    assert tunables(Example)[name].parse(text) == value


@pytest.mark.parametrize(("name", "text"), [("temperature", "warm"), ("temperature", "nan"), ("words", "2.5"), ("reduction", "max"), ("detach", "perhaps")])
def test_a_wrong_value_is_refused_in_one_line(name, text):
    with pytest.raises(ValueError) as caught:
        tunables(Example)[name].parse(text)
    assert "\n" not in str(caught.value)
    assert text in str(caught.value)


def test_an_unknown_parameter_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="temperature, words, reduction, detach"):
        make_params(Example, {"tau": 1.0})


def test_parameters_without_a_source_are_refused():
    @dataclass(frozen=True)
    class Bare(Params):
        tau: float = 1.0

    with pytest.raises(TypeError, match="'tau'"):
        tunables(Bare)


def test_a_params_class_without_the_dataclass_decorator_is_refused():
    class Undecorated(Params):
        tau: float = Float(1.0, 0.1, 10, source="ours")

    with pytest.raises(TypeError, match="dataclass"):
        tunables(Undecorated)


def test_a_subclass_that_is_no_dataclass_itself_is_refused():
    @dataclass(frozen=True)
    class Decorated(Params):
        weight: float = Float(1.0, 0.1, 10.0, source="ours")

    class Plain(Decorated):
        more: float = Float(1.0, 0.1, 10.0, source="ours")

    with pytest.raises(TypeError, match="Plain has to be decorated"):
        tunables(Plain)


def test_a_whole_number_is_an_int_however_it_was_written():
    @dataclass(frozen=True)
    class Counted(Params):
        k: int = Int(3, 1, 5, source="ours")

    made = make_params(Counted, {"k": 4.0})
    assert (made.k, type(made.k)) == (4, int)
