"""Declarations that are wrong, as the text of a plugin's file; with each, words of the line that says so."""

HEAD = """
from collections.abc import Sequence
from dataclasses import dataclass, field
import kdarena
from kdarena import Choice, Float, Int, Method, Paper, Params, TeacherSpec, hookimpl, no_teachers
PAPER = Paper("t", "v", 2026, "u")
@hookimpl
def loss(step):
    return {"task": step.task.loss(step.student, step.targets)}
"""


def declared(name="mine", **fields):
    return f"method = Method(name={name!r}, title='t', paper=PAPER, {', '.join(f'{field}={value}' for field, value in fields.items())})\n"


def with_params(body, decorator="@dataclass(frozen=True)"):
    return f"{decorator}\nclass P(Params):\n    {body}\n" + declared(Params="P")


TWO = """
class One:
    method = Method("twice", "t", PAPER)
    @hookimpl
    def loss(self, step): return {}
class Two(One):
    method = Method("twice", "t", PAPER)
variants = (One, Two)
"""

BROKEN = {
    "circular import": ("import circular_import\nimport helps_circle\n", "cannot import name 'value'", "helps_circle.py, line 1"),
    "no method": ("", "has no attribute 'method' of type kdarena.Method"),
    "method of another type": ("method = 'kd'\n", "has no attribute 'method' of type kdarena.Method"),
    "two methods of one name": (TWO, "the name 'twice' is taken by"),
    "a name already taken": (declared("kd"), "the name 'kd' is taken by kdarena, which goes on; give this method another name"),
    "upper case": (declared("Mine"), "method name 'Mine' has to be of lower-case letters"),
    "a slash": (declared("a/b"), "has to be of lower-case letters"),
    "an HTML tag": (declared("<img src=x>"), "has to be of lower-case letters"),
    "300 characters": (declared("a" * 300), "has to be of lower-case letters"),
    "a name that is no text": (declared(3), "method name 3 has to be of lower-case letters"),
    "no parameters class": (declared(Params="None"), "Params has to be a subclass of kdarena.Params"),
    "parameters of another class": (declared(Params="dict"), "Params has to be a subclass of kdarena.Params"),
    "parameters not decorated": (with_params("w: float = Float(1.0, 0.5, 2.0, source='ours')", ""), "has to be decorated with @dataclass(frozen=True)"),
    "parameters not frozen": (
        with_params("w: float = Float(1.0, 0.5, 2.0, source='ours')", "@dataclass"),
        "cannot inherit non-frozen dataclass from a frozen one",
    ),
    "a mutable default": (with_params("w: list = []"), "mutable default"),
    "a default that nobody declared": (with_params("w: float = 1.0"), "parameter 'w' has to be declared with Float, Int, Choice or Flag"),
    "a parameter without a default": (with_params("w: float"), "parameter 'w' has to be declared with Float, Int, Choice or Flag"),
    "a default out of bounds": (with_params("w: float = Float(0.0, 0.1, 2.0, above=0, source='ours')"), "0 is not possible; it has to be above 0"),
    "an empty range": (with_params("w: float = Float(1.0, 3.0, 2.0, source='ours')"), "the search range 3 to 2 is empty"),
    "a log range from 0": (with_params("w: float = Float(1.0, 0.0, 2.0, log=True, source='ours')"), "logarithmic and not above 0"),
    "a choice that is none": (with_params("w: str = Choice('c', ('a', 'b'), source='ours')"), "'c' is not one of a, b"),
    "an unknown track": (declared(tracks="('cooking',)"), "Method.tracks names the unknown track 'cooking'; known: classification"),
    "tracks as text": (declared(tracks="'classification'"), "Method.tracks has to be a tuple"),
    "an unknown need": (declared(requires="('a miracle',)"), "unknown need 'a miracle'"),
    "teachers that are no function": (declared(teachers="(TeacherSpec(),)"), "Method.teachers has to be a function of (card, params)"),
    "no paper": ("method = Method(name='mine', title='t', paper=None)\n", "Method.paper a kdarena.Paper"),
    "a hook misspelt": (declared() + "@hookimpl\ndef losss(step): return {}\n", "unknown hook 'losss', did you mean 'loss'? ("),
    "a hook of a class misspelt": (
        "class Mine:\n    " + declared().strip() + "\n    @hookimpl\n    def build_studnet(self, run): pass\nvariants = (Mine,)\n",
        "unknown hook 'build_studnet', did you mean 'build_student'? (",
    ),
    "an unknown argument": (
        declared() + "@hookimpl\ndef schedule(batches): return []\n",
        "hook 'schedule' has no argument 'batches' (",
    ),
    "an argument misspelt": (declared() + "@hookimpl\ndef loss(step, parms): return {}\n", "hook 'loss' has no argument 'parms', did you mean 'params'? ("),
    "an async hook": (declared() + "@hookimpl\nasync def loss(step): return {}\n", "hook 'loss' is async"),
    "a generator": (declared() + "@hookimpl\ndef loss(step):\n    yield {}\n", "hook 'loss' is a generator"),
    "a class that can't be made": (
        "class Mine:\n    " + declared().strip() + "\n    def __init__(self, size): pass\n    loss = loss\nvariants = (Mine,)\n",
        "missing 1 required positional argument: 'size'",
    ),
}
