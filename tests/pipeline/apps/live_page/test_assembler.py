"""The assembler of the page's kernel: its numbers, what it refuses, and a module worked out by hand."""

import pytest

from pipeline.apps.live_page.assembler import _number, _signed, assemble, read
from pipeline.apps.live_page.writing import KERNEL, SOURCES

SMALL = """(module ;; a comment
  (import "page" "memory" (memory 1))
  (func (export "add") (param $a i32) (local $b i32)
    (local.set $b (i32.add (local.get $a) (i32.const -1)))))"""


def test_expressions_are_nested_lists_without_comments() -> None:
    assert read('(a (b "c d") 1) ;; (e)') == [["a", ["b", "c d"], "1"]]


def test_numbers_have_seven_bits_a_byte() -> None:
    """The examples of the specification's section on integers, and the ends of one byte."""
    assert [_number(value) for value in (0, 127, 128, 624485)] == [b"\0", b"\x7f", b"\x80\x01", b"\xe5\x8e\x26"]
    assert [_signed(value) for value in (63, 64, -64, -123456)] == [b"\x3f", b"\xc0\x00", b"\x40", b"\xc0\xbb\x78"]


def test_a_small_module_has_the_bytes_of_the_specification() -> None:
    assert assemble(SMALL) == (
        b"\0asm\x01\0\0\0"
        b"\x01\x05\x01\x60\x01\x7f\x00"  # a function of one i32 that returns nothing
        b"\x02\x10\x01\x04page\x06memory\x02\x00\x01"
        b"\x03\x02\x01\x00"
        b"\x07\x07\x01\x03add\x00\x00"
        b"\x0a\x0d\x01\x0b\x01\x01\x7f\x20\x00\x41\x7f\x6a\x21\x01\x0b"
    )


def test_the_kernel_is_small() -> None:
    assert 100 < len(assemble((SOURCES / KERNEL).read_text())) < 1000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(module", "(modul", "module: expected one imported memory"),
        ("i32.add", "i32.div_s", "instruction: got"),
        ("(local $b i32)", "(local $b f64)", "variable: got"),
    ],
)
def test_what_it_does_not_know_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assemble(SMALL.replace(old, new))
