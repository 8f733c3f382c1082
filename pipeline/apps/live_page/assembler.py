"""WebAssembly from its text: as much of the language as `templates/kernel.wat` uses.

The file holds one module with one imported memory and one exported function. Every instruction is written folded, with
its operands inside its parentheses. Chapter 5 of the WebAssembly specification defines the binary format.
"""

import re
import struct
from collections.abc import Iterator, Sequence

Expression = list["str | Expression"]

TYPES = {"i32": 0x7F, "v128": 0x7B}
OPCODES = {
    "i32.sub": b"\x6b",
    "i32.add": b"\x6a",
    "i32.mul": b"\x6c",
    "i32.lt_s": b"\x48",
    "v128.load": b"\xfd\x00",
    "v128.load32_splat": b"\xfd\x09",
    "v128.store": b"\xfd\x0b",
    "f32x4.splat": b"\xfd\x13",
    "f32x4.add": b"\xfd\xe4\x01",
    "f32x4.mul": b"\xfd\xe6\x01",
}
ALIGNMENT = 2  # as a power of two: every address is a multiple of 4
LOOP, END, BRANCH_IF, NO_RESULT = 0x03, 0x0B, 0x0D, 0x40
LOCAL = {"local.get": 0x20, "local.set": 0x21}
TYPE_SECTION, IMPORT_SECTION, FUNCTION_SECTION, EXPORT_SECTION, CODE_SECTION = 1, 2, 3, 7, 10


def assemble(text: str) -> bytes:
    """Return the binary form of a module. Raises ValueError for what this assembler does not know."""
    (module,) = read(text)
    match module:
        case [
            "module",
            ["import", str(room), str(item), ["memory", str(pages)]],
            ["func", ["export", str(name)], *body],
        ]:
            pass
        case _:
            raise ValueError("module: expected one imported memory and one exported function")
    parameters = [_declared(part) for part in body if part[0] == "param"]
    variables = [_declared(part) for part in body if part[0] == "local"]
    places = {name: place for place, (name, _) in enumerate(parameters + variables)}
    code = b"".join(_instruction(part, places, []) for part in body if part[0] not in ("param", "local"))
    kinds = b"".join(b"\x01" + bytes([TYPES[kind]]) for _, kind in variables)
    function = _number(len(variables)) + kinds + code + bytes([END])
    signature = b"\x60" + _vector([bytes([TYPES[kind]]) for _, kind in parameters]) + b"\x00"
    memory = _text(room) + _text(item) + b"\x02\x00" + _number(int(pages))
    return (
        b"\x00asm\x01\x00\x00\x00"
        + _section(TYPE_SECTION, signature)
        + _section(IMPORT_SECTION, memory)
        + _section(FUNCTION_SECTION, b"\x00")
        + _section(EXPORT_SECTION, _text(name) + b"\x00\x00")
        + _section(CODE_SECTION, _number(len(function)) + function)
    )


def read(text: str) -> Expression:
    """Return the expressions in a text as nested lists; strings lose their quotes, comments are left out."""
    tokens = iter(re.findall(r'[()]|[^\s()";]+|"[^"]*"', re.sub(";;.*", "", text)))
    return list(_expressions(tokens))


def _expressions(tokens: Iterator[str]) -> Iterator["str | Expression"]:
    for token in tokens:
        if token == ")":
            return
        yield list(_expressions(tokens)) if token == "(" else token.strip('"')


def _declared(part: "str | Expression") -> tuple[str, str]:
    match part:
        case [_, str(name), str(kind)] if kind in TYPES:
            return name, kind
    raise ValueError(f"variable: got {part}, expected a name and one of {', '.join(TYPES)}")


def _instruction(part: "str | Expression", places: dict[str, int], labels: Sequence[str]) -> bytes:
    """Return an instruction after its operands; `labels` are those of the loops around it, the innermost first."""
    match part:
        case ["i32.const", str(value)]:
            return b"\x41" + _signed(int(value))
        case ["f32.const", str(value)]:
            return b"\x43" + struct.pack("<f", float(value))
        case ["loop", str(label), *inside]:
            return bytes([LOOP, NO_RESULT]) + _all(inside, places, [label, *labels]) + bytes([END])
        case ["br_if", str(label), condition]:
            return _instruction(condition, places, labels) + bytes([BRANCH_IF, labels.index(label)])
        case ["local.get" | "local.set" as name, str(variable), *operands]:
            return _all(operands, places, labels) + bytes([LOCAL[name]]) + _number(places[variable])
        case [str(name), *operands] if name in OPCODES:
            offset = 0
            if operands and isinstance(operands[0], str):
                offset, operands = int(operands[0].removeprefix("offset=")), operands[1:]
            access = bytes([ALIGNMENT]) + _number(offset) if name.startswith("v128.") else b""
            return _all(operands, places, labels) + OPCODES[name] + access
    raise ValueError(
        f"instruction: got {part}, expected one of {', '.join([*OPCODES, *LOCAL])}, loop, br_if or a const"
    )


def _all(parts: "Sequence[str | Expression]", places: dict[str, int], labels: Sequence[str]) -> bytes:
    return b"".join(_instruction(part, places, labels) for part in parts)


def _number(value: int) -> bytes:
    """Return a whole number that is not negative as LEB128: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _signed(value: int) -> bytes:
    """Return a whole number as signed LEB128."""
    encoded = bytearray()
    while not -0x40 <= value < 0x40:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value & 0x7F])


def _vector(items: Sequence[bytes]) -> bytes:
    return _number(len(items)) + b"".join(items)


def _text(text: str) -> bytes:
    return _number(len(text.encode())) + text.encode()


def _section(number: int, item: bytes) -> bytes:
    """Return a section with a single item."""
    content = b"\x01" + item
    return bytes([number]) + _number(len(content)) + content
