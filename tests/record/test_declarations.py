from kdarena.record import declarations
from kdarena.record.declarations import Declaration


def test_what_a_method_declares_is_kept_for_the_board(tmp_path, synthetic):
    kept = {name: Declaration.of(synthetic.method(name, auxiliary=name == "crd")) for name in ("kd", "crd")}
    declarations.keep(tmp_path, kept)
    declarations.keep(tmp_path, {"kd": Declaration("anew")})
    assert declarations.read(tmp_path) == {"kd": Declaration("anew"), "crd": Declaration("On crd (Journal 2020)", auxiliary=True)}


def test_a_file_that_cant_be_read_declares_nothing(tmp_path):
    (tmp_path / declarations.FILE).write_text("{")
    assert declarations.read(tmp_path) == {}
