"""Ctrl-C that a module in C has turned into an exception of its own."""

from da.errors import is_interrupted


def test_an_error_caused_by_ctrl_c_is_recognized() -> None:
    error = ImportError("initialization failed")
    assert not is_interrupted(error)
    error.__cause__ = KeyboardInterrupt()
    assert is_interrupted(error)
    assert not is_interrupted(None)
