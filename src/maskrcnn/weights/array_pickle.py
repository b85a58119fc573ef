"""Pickled NumPy arrays in plain containers, read without running anything that the pickle asks for.

A pickle is a program, so none is given what it asks for: the few names that arrays need are answered with
stand-ins of ours, and sizes are held against the bytes that are really there before memory is taken for them.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import UserError

IN_PLACE = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
CALLS = ("REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "FROZENSET")
MAX_OPERATIONS = 2_000_000  # a published checkpoint has some 20 000
MAX_TUPLE = 10_000  # values in a tuple, those in its tuples included: hashing and comparing recurse in C
REMEDY = "resave it where it was made, with torch.save(model.state_dict(), PATH)"


@dataclass
class _Item:
    """What the unpickler's stack would hold: how large it is if written out, what it shares counted each
    time.
    """

    tuples: int = 1  # values in it by way of tuples
    size: int = 1  # bytes and values in all


def check_operations(path: Path, stream: Any) -> None:
    """Walks one pickle without building it, and leaves `stream` (a BytesIO or mmap) behind it.

    Refuses what makes any unpickler, ours or torch's, take memory that the file does not account for (a memo
    place far out, bytes that do not follow, the same bytes copied by call after call) or overflow the C stack
    (a dict key of a million nested tuples).
    """
    stack: list[_Item | None] = []  # None is a mark
    memo: dict[int, _Item | None] = {}
    called = 0
    for count, (operation, argument, place) in enumerate(pickletools.genops(stream)):
        name = operation.name
        if count > MAX_OPERATIONS or name.startswith("EXT"):
            raise UserError(
                f"{path}: refused: no checkpoint of arrays needs such a pickle ({name} at step {count})"
            )
        if name == "GLOBAL" and argument in ("__builtin__ bytearray", "builtins bytearray"):
            raise refusal(path, argument.replace(" ", "."))  # torch admits it, of any length
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            slot = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if slot > count:
                raise UserError(f"{path}: refused: asks for {slot} memo places after {count} steps")
            memo[slot] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name == "MARK":
            stack.append(None)
        else:
            left, taken = _step(operation, argument, stack)
            called += taken if name in CALLS else 0
            if left.tuples > MAX_TUPLE:
                raise UserError(f"{path}: refused: holds a tuple of more than {MAX_TUPLE} values")
            if called > 8 * (place or 0) + (64 << 20):
                raise UserError(f"{path}: refused: asks for more memory than its size accounts for")


def _step(operation: pickletools.OpcodeInfo, argument: Any, stack: list[_Item | None]) -> tuple[_Item, int]:
    """Takes from `stack` what the operation takes, and puts there what it leaves; that, and the size of the
    taken.
    """
    taken: list[_Item] = []
    for kind in reversed(operation.stack_before):
        if kind is pickletools.stackslice:
            while stack[-1] is not None:
                taken.append(stack.pop() or _Item())
        else:
            taken.append(stack.pop() or _Item())
    nested = operation.name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")
    tuples = [item.tuples for item in taken]
    size = min(sum(item.size for item in taken), 1 << 62)
    words = len(argument) if isinstance(argument, str | bytes | bytearray) else 0
    left = _Item(1 + sum(tuples) if nested else max(tuples, default=1), 1 + words + size)
    if operation.name in IN_PLACE:
        taken[-1].tuples, taken[-1].size = left.tuples, left.size
        left = taken[-1]  # the memo may hold it
    stack.extend([left] * len(operation.stack_after))
    return left, size


class ArrayUnpickler(pickle.Unpickler):
    """Builds plain containers and `PickledArray`s; a file that wants any other name is refused.

    Nothing of Python's or NumPy's own is handed out, so no name can be called with arguments that were not
    meant for it (`bytes(2**40)`), and no class can be altered for later.
    """

    def __init__(self, path: Path, stream: Any) -> None:
        super().__init__(stream, encoding="latin1")  # Python 2 wrote arrays as such strings
        self._path = path
        self._known: dict[str, Callable[..., Any]] = {
            "_codecs.encode": self._encode,
            "builtins.bytes": lambda: b"",
            "builtins.set": lambda values=(): set(self._list(values)),
            "collections.OrderedDict": lambda pairs=(): _Dict(self._list(pairs)),
            "numpy.ndarray": self._called_ndarray,
            "numpy.dtype": lambda code, *_: _Dtype(path, code),
            "numpy.core.multiarray._reconstruct": lambda kind, *_: PickledArray(path),
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._frombuffer,
        }

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        usual = re.sub(r"^numpy\._core\.", "numpy.core.", re.sub(r"^__builtin__\.", "builtins.", asked))
        if usual not in self._known:
            raise refusal(self._path, asked)
        return _StandIn(self._known[usual])

    def _list(self, values: Any) -> list[Any]:
        if values != () and type(values) is not list:
            raise UserError(f"{self._path}: damaged: {type(values).__name__} in the place of a list")
        return list(values)

    def _encode(self, text: str, encoding: str = "utf-8") -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise refusal(self._path, "_codecs.encode to something other than latin1")
        return text.encode("latin1")

    def _called_ndarray(self, *_: Any) -> None:
        raise UserError(f"{self._path}: refused: asks for an array without its numbers")

    def _scalar(self, dtype: _Dtype, raw: Any) -> PickledArray:
        array = PickledArray(self._path)
        array.__setstate__((1, (), dtype, False, raw))
        return array

    def _frombuffer(self, raw: Any, dtype: _Dtype, shape: Any, order: str, axes: Any = None) -> PickledArray:
        array = PickledArray(self._path)
        array.__setstate__((1, shape, dtype, order == "F", raw))
        if order == "K" and axes is not None:
            array.array = np.ascontiguousarray(array.numbers().transpose(axes))
        return array


class _StandIn:
    """What a pickle gets for a name: it can be called, and neither altered nor subclassed."""

    __slots__ = ("_run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *arguments: Any) -> Any:
        return self._run(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function has no state")


class _Dict(dict[Any, Any]):
    """An OrderedDict, without the attributes that torch's state dicts carry (`_metadata`)."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    """A NumPy number type in the making."""

    def __init__(self, path: Path, code: Any) -> None:
        if not (isinstance(code, str) and re.fullmatch(r"[<>|=]?[biufc]\d{1,2}", code)):
            raise not_numbers(path, code.lstrip("<>|=")[:1] if isinstance(code, str) else "?")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class PickledArray:
    """A NumPy array or number in the making."""

    def __init__(self, path: Path, array: np.ndarray[Any, Any] | None = None) -> None:
        self._path = path
        self.array = array

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray | str):
            raise UserError(f"{self._path}: damaged: an array of {type(raw).__name__}")
        self.array = numbers(
            raw.encode("latin1") if isinstance(raw, str) else raw, dtype.dtype, shape, fortran
        )

    def numbers(self) -> np.ndarray[Any, Any]:
        if self.array is None:
            raise UserError(f"{self._path}: damaged: an array without its numbers")
        return self.array


def numbers(raw: bytes | bytearray, dtype: np.dtype[Any], shape: Any, fortran: Any) -> np.ndarray[Any, Any]:
    """A writable array in this machine's byte order; the bytes must be exactly those that the shape needs."""
    if (
        type(shape) is not tuple
        or len(shape) > 32
        or not all(type(n) is int and 0 <= n < 2**40 for n in shape)
    ):
        raise ValueError("an array whose shape is none")  # and not printed: a nested one can be endless
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(raw):
        raise ValueError(f"an array of the shape {shape} needs {needed} bytes and has {len(raw)}")
    array = np.frombuffer(raw, dtype) if raw else np.zeros(0, dtype)
    return np.array(array.reshape(shape, order="F" if fortran else "C"), dtype.newbyteorder("="), order="C")


def line(text: Any) -> str:
    """One printable line of what a file or a library says."""
    return " ".join(str(text).split())[:200].encode("unicode_escape").decode("ascii")


def refusal(path: Path, wanted: str) -> UserError:
    return UserError(
        f"{path}: refused: it asks for {line(wanted)}, and only arrays and containers are read; {REMEDY}"
    )


def not_numbers(path: Path, kind: str) -> UserError:
    what = "Python objects" if kind == "O" else f"type {line(kind)!r}"
    return UserError(
        f"{path}: refused: it holds an array of {what}, and only arrays of numbers are read; {REMEDY}"
    )
