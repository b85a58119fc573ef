"""Pickled NumPy arrays in plain containers, read without running anything that the pickle asks for.

A pickle is a program for a small stack machine. `PickleReader` is such a machine without the dangerous part:
it has containers, numbers and words, answers the few names that arrays need with functions of its own, and
refuses every other name. Bytes that calls copy are held against the size of the file, and only words, numbers
and some flat tuples of them may be keys: hashing nested tuples recurses in C, and chosen keys of one hash
take time that grows with their square.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import UserError, one_line

REMEDY = "resave it where it was made, with torch.save(model.state_dict(), PATH)"
MAX_OPERATIONS = 1_000_000  # a published checkpoint has some 20,000
MOST_TUPLES, LONGEST_TUPLE = 1000, 100  # that are keys: many of one hash are easily found
OBJECT = np.dtype(object)
REBUILD = "torch._utils._rebuild_"  # tensors of any kind
TORCH_CALLS = {  # others, such as torch.Tensor, make tensors of lists, and of any size
    "torch.Size",
    "torch.device",
    "torch._tensor._rebuild_from_type_v2",
    "torch.nn.parameter.Parameter",
    "torch.serialization._get_layout",
}
LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES"
    " SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split()
)
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}


@dataclass
class PickledArray:
    """A NumPy array or number; its values come after it was made."""

    values: np.ndarray[Any, Any] | None = None
    content: Any = None  # the object, of an array of one object

    def numbers(self) -> np.ndarray[Any, Any]:
        if self.values is None:
            raise ValueError("an array without its numbers")
        return self.values


@dataclass
class _Dtype:
    """A NumPy number type; its byte order comes after it was made."""

    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Name:
    """A name that the pickle asked for and may call."""

    name: str


@dataclass(frozen=True)
class _Torch:
    """Something of torch's in a torch file: what it is, its own restricted unpickler finds out."""

    name: str = ""  # "" for what a call gave


class PickleReader:
    """Reads one pickle; sets come out as lists, arrays as `PickledArray`.

    Args:
        path: named in messages.
        size: bytes of the file, which bound what the pickle's calls may copy.
        torch_file: lets names of torch and storages pass as placeholders. The result is then only good for
            knowing that torch.load(weights_only=True) can read the file without harm.
        saved_object: numpy.save wrote it of one object, around which there is an array: the object is read.
    """

    def __init__(
        self, path: Path, size: int, *, torch_file: bool = False, saved_object: bool = False
    ) -> None:
        self._path = path
        self._saved_object = saved_object
        self._copies_left = 4 * size + (1 << 20)
        self._torch_file = torch_file
        self._tuples_left = MOST_TUPLES
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def read(self, stream: Any) -> Any:
        """What the pickle at `stream` (a BytesIO or mmap) holds; `stream` is left behind it.

        Raises:
            UserError: the pickle asks for more than arrays and plain containers.
            Exception: any other, where the pickle is damaged.
        """
        for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_OPERATIONS:
                raise UserError(f"{self._path}: refused: a pickle of more than {MAX_OPERATIONS} steps")
            self._step(operation.name, argument)
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in LITERALS:
            stack.append(argument)
            return
        if name in CONSTANTS:
            stack.append(CONSTANTS[name]())
            return
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self._marked.append(stack)
                self._stack = []
            case "POP" if stack:
                stack.pop()
            case "POP" | "POP_MARK":
                self._items()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[int(argument)] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[int(argument)])
            case "GLOBAL":
                stack.append(self._named(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                last, module = stack.pop(), stack.pop()
                stack.append(self._named(f"{module}.{last}"))
            case "BINPERSID" if self._torch_file:
                parts = stack[-1] if type(stack[-1]) is tuple else ()  # a storage, in old files also a module
                stack[-1] = next((part for part in parts if isinstance(part, _Torch)), _Torch())
            case "REDUCE" | "NEWOBJ":
                arguments = stack.pop()
                stack[-1] = self._called(stack[-1], arguments)
            case "BUILD":
                state = stack.pop()
                self._build(stack[-1], state)
            case _:
                self._collect(name)

    def _collect(self, name: str) -> None:
        """The operations that put values into containers."""
        match name:
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                values = [self._stack.pop() for _ in range(int(name[-1]))]
                self._stack.append(tuple(reversed(values)))
            case "TUPLE":
                values = self._items()
                self._stack.append(tuple(values))
            case "LIST":
                values = self._items()
                self._stack.append(values)
            case "FROZENSET":
                values = self._items()
                self._stack.append(self._keys(values))
            case "APPEND":
                value = self._stack.pop()
                self._list(self._stack[-1]).append(value)
            case "APPENDS":
                values = self._items()
                self._list(self._stack[-1]).extend(values)
            case "ADDITEMS":
                values = self._items()
                self._list(self._stack[-1]).extend(self._keys(values))
            case "DICT":
                values = self._items()
                self._stack.append(self._filled({}, values))
            case "SETITEM":
                value, key = self._stack.pop(), self._stack.pop()
                self._filled(self._stack[-1], [key, value])
            case "SETITEMS":
                values = self._items()
                self._filled(self._stack[-1], values)
            case _:
                raise UserError(f"{self._path}: refused: no checkpoint of arrays needs a pickle's {name}")

    def _items(self) -> list[Any]:
        """The values since the last mark, taken off the stack."""
        values, self._stack = self._stack, self._marked.pop()
        return values

    def _keys(self, values: Iterable[Any]) -> list[Any]:
        """The values of a set or the keys of a dict."""
        values = list(values)
        for key in values:
            if isinstance(key, _Torch) and key.name:  # a number type
                continue
            flat = type(key) is tuple and len(key) <= LONGEST_TUPLE and tuple not in map(type, key)
            if flat and self._tuples_left:
                self._tuples_left -= 1
                self._keys(key)
                continue
            if type(key) not in (str, bytes, bool, int, float, type(None)):
                raise UserError(
                    f"{self._path}: refused: a key of type {type(key).__name__}, not a word or number"
                )
            if type(key) is int and abs(key) >= 2**61 - 1:  # below, each has a hash of its own
                raise UserError(f"{self._path}: refused: a key of {key.bit_length()} bits")
        return values

    def _filled(self, target: Any, values: Sequence[Any]) -> dict[Any, Any]:
        if type(target) is not dict or len(values) % 2:
            raise ValueError(f"{type(target).__name__} in the place of a dict")
        target.update(zip(self._keys(values[::2]), values[1::2], strict=True))
        return target

    def _list(self, values: Any) -> list[Any]:
        if type(values) is not list:
            raise ValueError(f"{type(values).__name__} in the place of a list")
        return values

    def _named(self, asked: str) -> _Name | _Torch:
        usual = re.sub(r"^numpy\._core\.", "numpy.core.", re.sub(r"^__builtin__\.", "builtins.", asked))
        if usual in CALLS or usual == "numpy.ndarray":
            return _Name(usual)
        if self._torch_file and asked.startswith("torch."):
            return _Torch(asked)
        raise refusal(self._path, asked)

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name | _Torch) or type(arguments) is not tuple:
            raise ValueError(f"a call of {type(function).__name__}")
        if isinstance(function, _Torch):
            if function.name not in TORCH_CALLS and not function.name.startswith(REBUILD):
                raise refusal(self._path, f"a call of {function.name or 'what a call gave'}")
            self._spend_all(arguments)
            return _Torch()
        self._spend(sum(len(a) for a in arguments if isinstance(a, str | bytes | list | tuple | dict)))
        if function.name not in CALLS:
            raise UserError(f"{self._path}: refused: asks for an array without its numbers")
        return CALLS[function.name](self, *arguments)

    def _spend(self, copied: int) -> None:
        self._copies_left -= copied
        if self._copies_left < 0:
            raise UserError(f"{self._path}: refused: asks for more memory than its size accounts for")

    def _spend_all(self, value: Any) -> None:
        """Spends what `value` takes where it is copied with all that is in it: a short pickle can put one
        list into a list twice, that twice into a third, and so on.
        """
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str | bytes | list | tuple | dict):
                self._spend(1 + len(value))
            if isinstance(value, list | tuple | dict):
                waiting.extend(value.values() if isinstance(value, dict) else value)

    def _build(self, target: Any, state: Any) -> None:
        """Gives an object its state."""
        match target:
            case _Dtype():
                if state[1] in ("<", ">"):
                    target.dtype = target.dtype.newbyteorder(state[1])
            case PickledArray():
                _, shape, dtype, fortran, raw = state
                if isinstance(dtype, _Dtype) and dtype.dtype == OBJECT:
                    target.content, *more = self._list(raw)
                    if shape != () or more:
                        raise not_numbers(self._path, OBJECT.char)
                    return
                target.values = self._array(raw, dtype, shape, fortran)
            case dict() | _Torch():  # torch's state dicts carry attributes (`_metadata`)
                pass
            case _:
                raise ValueError(f"a state for {type(target).__name__}")

    def _array(self, raw: Any, dtype: Any, shape: Any, fortran: Any) -> np.ndarray[Any, Any]:
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray | str):
            raise ValueError(f"an array of {type(raw).__name__}")
        self._spend(len(raw))
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 wrote bytes as words
        return numbers(raw, dtype.dtype, shape, fortran)

    def _dict(self, content: Any = ()) -> dict[Any, Any]:
        pairs = content.items() if type(content) is dict else [(key, value) for key, value in content]
        return self._filled({}, [part for pair in pairs for part in pair])

    def _set(self, values: Any = ()) -> list[Any]:
        return self._keys(self._list(values)) if values != () else []

    def _bytes(self, *arguments: Any) -> bytes:
        if arguments:
            raise refusal(self._path, "bytes of a stated length")
        return b""

    def _bytearray(self, content: bytes | str = b"", *encoding: str) -> bytearray:
        return bytearray(content if isinstance(content, bytes) else self._encode(content, *encoding))

    def _complex(self, real: float, imaginary: float) -> complex:
        return complex(real, imaginary)

    def _encode(self, text: str, encoding: str = "utf-8") -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise refusal(self._path, "_codecs.encode to something other than latin1")
        return text.encode("latin1")

    def _dtype(self, code: Any, *_: Any) -> _Dtype:
        if self._saved_object and code == "O8":
            return _Dtype(OBJECT)
        if not (isinstance(code, str) and re.fullmatch(r"[<>|=]?[biufc]\d{1,2}", code)):
            raise not_numbers(self._path, code.lstrip("<>|=")[:1] if isinstance(code, str) else "?")
        return _Dtype(np.dtype(code))

    def _reconstruct(self, *_: Any) -> PickledArray:
        return PickledArray()

    def _scalar(self, dtype: Any, raw: Any) -> PickledArray:
        return PickledArray(self._array(raw, dtype, (), False))

    def _frombuffer(self, raw: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> PickledArray:
        values = self._array(raw, dtype, shape, order == "F")
        return PickledArray(np.ascontiguousarray(values.transpose(axes)) if order == "K" and axes else values)


CALLS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": PickleReader._encode,
    "builtins.bytearray": PickleReader._bytearray,
    "builtins.bytes": PickleReader._bytes,
    "builtins.complex": PickleReader._complex,
    "builtins.set": PickleReader._set,
    "collections.Counter": PickleReader._dict,
    "collections.OrderedDict": PickleReader._dict,
    "numpy.dtype": PickleReader._dtype,
    "numpy.core.multiarray._reconstruct": PickleReader._reconstruct,
    "numpy.core.multiarray.scalar": PickleReader._scalar,
    "numpy.core.numeric._frombuffer": PickleReader._frombuffer,
}


def numbers(raw: bytes | bytearray, dtype: np.dtype[Any], shape: Any, fortran: Any) -> np.ndarray[Any, Any]:
    """A writable array in this machine's byte order; the bytes must be exactly those that the shape needs."""
    dimensions = shape if type(shape) is tuple and len(shape) <= 32 else (None,)
    if not all(type(n) is int and 0 <= n < 2**40 for n in dimensions):
        raise ValueError("an array whose shape is none")  # and not printed: a nested one can be endless
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(raw):
        raise ValueError(f"an array of the shape {shape} needs {needed} bytes and has {len(raw)}")
    array = np.frombuffer(raw, dtype) if raw else np.zeros(0, dtype)
    return np.array(array.reshape(shape, order="F" if fortran else "C"), dtype.newbyteorder("="), order="C")


def line(text: Any) -> str:
    """One printable line of what a file or a library says."""
    return one_line(text)[:200].encode("unicode_escape").decode("ascii")


def refusal(path: Path, wanted: str) -> UserError:
    return UserError(
        f"{path}: refused: it asks for {line(wanted)}, and only arrays and containers are read; {REMEDY}"
    )


def not_numbers(path: Path, kind: str) -> UserError:
    what = "Python objects" if kind == "O" else f"type {line(kind)!r}"
    return UserError(
        f"{path}: refused: it holds an array of {what}, and only arrays of numbers are read; {REMEDY}"
    )
