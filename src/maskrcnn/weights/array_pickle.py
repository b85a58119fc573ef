"""Pickled NumPy arrays in plain containers, read without running anything that the pickle asks for.

A pickle is a program, so none is given what it asks for: the few names that arrays need are answered with stand-ins
of ours, and sizes are held against the bytes that are really there before memory is taken for them.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import UserError

MAX_OPERATIONS = 5_000_000  # a published checkpoint has some 20 000
MAX_TUPLE = 10_000  # values in a tuple, those in its tuples included: hashing and comparing recurse in C
REMEDY = "resave it where it was made, with torch.save(model.state_dict(), PATH)"


def check_operations(path: Path, stream: Any) -> None:
    """Walks one pickle without building it, and leaves `stream` behind it.

    Refuses what makes the unpickler itself take memory that the file does not account for (a memo place far out, more
    bytes than follow: pickletools checks those), or overflow the C stack (a dict key of a million nested tuples).
    """
    stack: list[int | None] = []  # how many values each would be if written out; None is a mark
    memo: dict[int, int] = {}
    for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
        name = operation.name
        if count > MAX_OPERATIONS or name.startswith("EXT"):
            raise UserError(f"{path}: refused: no checkpoint of arrays needs such a pickle ({name} at step {count})")
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if place > count:
                raise UserError(f"{path}: refused: asks for {place} memo places after {count} steps")
            memo[place] = stack[-1] or 1
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        else:
            _step(path, operation, stack)


def _step(path: Path, operation: pickletools.OpcodeInfo, stack: list[int | None]) -> None:
    """Takes from `stack` what the operation takes, and puts there what it leaves."""
    taken: list[int] = []
    for kind in reversed(operation.stack_before):
        if kind is pickletools.stackslice:
            while stack[-1] is not None:
                taken.append(stack.pop() or 1)
        else:
            taken.append(stack.pop() or 1)
    if operation.name == "MARK":
        stack.append(None)
        return
    nested = operation.name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")
    weight = 1 + sum(taken) if nested else max(taken, default=1)
    if weight > MAX_TUPLE:
        raise UserError(f"{path}: refused: holds a tuple of more than {MAX_TUPLE} values")
    stack.extend([weight] * len(operation.stack_after))


class ArrayUnpickler(pickle.Unpickler):
    """Builds plain containers and `PickledArray`s; a file that wants any other name is refused.

    Nothing of Python's or NumPy's own is handed out, so no name can be called with arguments that were not meant
    for it (`bytes(2**40)`), and no class can be altered for later.
    """

    def __init__(self, path: Path, stream: Any, size: int) -> None:
        super().__init__(stream, encoding="latin1")  # Python 2 wrote arrays as such strings
        self._path = path
        self._left = 4 * size + (1 << 20)
        self._known: dict[str, Callable[..., Any]] = {
            "_codecs.encode": self._encode,
            "builtins.bytes": lambda: b"",
            "builtins.set": lambda values=(): set(self._paid(values, list)),
            "collections.OrderedDict": lambda pairs=(): _Dict(self._paid(pairs, list)),
            "numpy.ndarray": self._called_ndarray,
            "numpy.dtype": lambda code, *_: _Dtype(path, code),
            "numpy.core.multiarray._reconstruct": lambda kind, *_: PickledArray(path, self._paid),
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._frombuffer,
        }

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        usual = re.sub(r"^numpy\._core\.", "numpy.core.", re.sub(r"^__builtin__\.", "builtins.", asked))
        if usual not in self._known:
            raise refusal(self._path, asked)
        return _StandIn(self._known[usual])

    def _paid(self, data: Any, kind: type | tuple[type, ...]) -> Any:
        """`data`, when it is of `kind` and the file still accounts for a copy of it.

        A pickle can ask for the same bytes to be copied again and again, a few bytes each time.
        """
        if data != () and not isinstance(data, kind):
            raise UserError(f"{self._path}: damaged: {type(data).__name__} in the place of something else")
        self._left -= len(data) * (1 if isinstance(data, bytes | bytearray | str) else 64)
        if self._left < 0:
            raise UserError(f"{self._path}: refused: asks for more memory than its size accounts for")
        return data

    def _encode(self, text: str, encoding: str = "utf-8") -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise refusal(self._path, "_codecs.encode to something other than latin1")
        return str(self._paid(text, str)).encode("latin1")

    def _called_ndarray(self, *_: Any) -> None:
        raise UserError(f"{self._path}: refused: asks for an array without its numbers")

    def _scalar(self, dtype: _Dtype, raw: Any) -> PickledArray:
        array = PickledArray(self._path, self._paid)
        array.__setstate__((1, (), dtype, False, raw))
        return array

    def _frombuffer(self, raw: Any, dtype: _Dtype, shape: Any, order: str, axes: Any = None) -> PickledArray:
        array = PickledArray(self._path, self._paid)
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

    def __init__(
        self, path: Path, paid: Callable[[Any, Any], Any] | None = None, array: np.ndarray[Any, Any] | None = None
    ) -> None:
        self._path = path
        self._paid = paid
        self.array = array

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if self._paid is None or not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray | str):
            raise UserError(f"{self._path}: damaged: an array of {type(raw).__name__}")
        raw = self._paid(raw, (bytes, bytearray, str))
        self.array = numbers(raw.encode("latin1") if isinstance(raw, str) else raw, dtype.dtype, shape, fortran)

    def numbers(self) -> np.ndarray[Any, Any]:
        if self.array is None:
            raise UserError(f"{self._path}: damaged: an array without its numbers")
        return self.array


def numbers(raw: bytes | bytearray, dtype: np.dtype[Any], shape: Any, fortran: Any) -> np.ndarray[Any, Any]:
    """A writable array in this machine's byte order; the bytes must be exactly those that the shape needs."""
    if type(shape) is not tuple or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
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
    return UserError(f"{path}: refused: it asks for {line(wanted)}, and only arrays and containers are read; {REMEDY}")


def not_numbers(path: Path, kind: str) -> UserError:
    what = "Python objects" if kind == "O" else f"type {line(kind)!r}"
    return UserError(f"{path}: refused: it holds an array of {what}, and only arrays of numbers are read; {REMEDY}")
