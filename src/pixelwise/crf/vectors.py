"""Registers of float32 for numba: the loops of the mean field in explicit vectors.

numba's own loops over labels are not turned into vectors reliably (PERFORMANCE.md, A: plain loops are slower than
pydensecrf). A `Vector` is 1–4 registers of eight float32 that are computed with together: up to 32 labels of one
pixel stay in registers from the first message to the last product. On a machine with shorter registers LLVM splits
them.

Nothing here checks an index: the callers' rows are as long as they say.

numba does not see that a kernel uses something of another file that was changed, this one or a constant. So the names
of cached files carry a hash of all the kernels' sources, and a new version never runs kernels of an older one.
"""

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import extending, types
from numba.core import caching, cgutils, event, sigutils
from numba.core.datamodel import models
from numba.core.runtime.nrt import rtsys

from pixelwise.crf.collection import keeping_all

WIDTH = 8  # float32 in a register

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_REGISTER = ir.VectorType(_FLOAT, WIDTH)
_INTEGERS = ir.VectorType(_INT, WIDTH)
_log = logging.getLogger("pixelwise")
_njit: Any = numba.njit  # some versions of numba have types, which differ
intrinsic: Any = extending.intrinsic

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(kernel: Kernel) -> Kernel:
    """The kernel compiled by numba at first use, without Python's lock, and cached where any folder can be written.

    numba keeps what it compiled beside the module, else in the user's cache folder; with neither, or where the disk is
    full or the files are damaged, it compiles anew in each process. No fast math: two kernels give the same bits
    wherever they do the same operations.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    kernel.__qualname__ = f"{kernel.__qualname__}_{_SOURCES}"  # numba names its files so
    try:
        dispatcher = _njit(cache=True, **options)(kernel)
        dispatcher._cache = _Cache(kernel)
    except (RuntimeError, OSError):  # "cannot cache function: no locator available"
        dispatcher = _njit(**options)(kernel)
    return cast(Kernel, dispatcher)


def _hash_of_sources() -> str:
    """Twelve digits that change with any file that kernels are made of."""
    folder = resources.files("pixelwise.crf")
    files = {file.name: file for file in folder.iterdir() if file.name.endswith(("_kernels.py", "vectors.py"))}
    return hashlib.sha256(b"".join(files[name].read_bytes() for name in sorted(files))).hexdigest()[:12]


_SOURCES = _hash_of_sources()


class _Cache(caching.FunctionCache):
    """numba's cache, but what cannot be read or written is only compiled again, and reading imports less."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for this signature, None where nothing is.

        Two processes that compile a kernel for different signatures at once give both files the same name, and the
        list of files may be the one's and the file the other's. Then it is compiled again, which replaces the file.

        numba's own method first imports all that compiling may need, SciPy's linear algebra among it: 0.3 s. What is
        compiled already needs numba's memory management alone.
        """
        try:
            with keeping_all():
                rtsys.initialize(target_context)
                loaded = self._load_overload(sig, target_context)
            if loaded is not None and tuple(loaded.signature.args) != tuple(sigutils.normalize_signature(sig)[0]):
                _log.debug("%s holds %s for %s", self.cache_path, loaded.signature, sig)
                return None
            return loaded
        except Exception as error:  # whatever a damaged file gives
            _log.debug("cannot read %s: %s", self.cache_path, error)
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # no space, no permission
            _log.debug("cannot write %s: %s", self.cache_path, error)


class _Announcement(event.Listener):
    """One line when the first of the package's kernels is compiled, not when it comes from the cache.

    A warning, as Python shows these on stderr where nobody has set up logging; `getLogger("pixelwise")` turns it off.
    """

    def __init__(self) -> None:
        self.made = False

    def on_start(self, event: Any) -> None:
        """Numba starts to compile."""
        dispatcher = event.data["dispatcher"]
        if not self.made and dispatcher.py_func.__module__.startswith("pixelwise.crf."):
            self.made = True
            kept = isinstance(dispatcher._cache, _Cache)
            _log.warning(
                "compiling the CRF for this machine, %s: some seconds",
                "once" if kept else "as in every process, since no folder for NUMBA_CACHE_DIR can be written",
            )

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


event.register("numba:compile", _Announcement())


class Vector(types.Type):
    """numba's type of `registers` × 8 float32."""

    def __init__(self, registers: int) -> None:
        self.registers = registers
        super().__init__(name=f"Vector({registers})")


@extending.register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.ArrayType(_REGISTER, vector.registers))


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_REGISTER, [ir.Constant(_FLOAT, value)] * WIDTH)


def _integer(value: int) -> ir.Constant:
    return ir.Constant(_INTEGERS, [ir.Constant(_INT, value)] * WIDTH)


def _join(builder: Any, registers: list[Any]) -> Any:
    """The registers as one value."""
    value = ir.Constant(ir.ArrayType(_REGISTER, len(registers)), ir.Undefined)
    for i, register in enumerate(registers):
        value = builder.insert_value(value, register, i)
    return value


def _pointwise(operation: Callable[..., Any]) -> Callable[..., Any]:
    """What numba calls to write an operation on equal vectors, register by register."""

    def write(context: Any, builder: Any, signature: Any, vectors: Any) -> Any:
        n = signature.return_type.registers
        return _join(builder, [operation(builder, *(builder.extract_value(v, i) for v in vectors)) for i in range(n)])

    return write


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The address of `array[index]`."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [context.cast(builder, arguments[1], signature.args[1], types.intp)])


def _llvm(builder: Any, name: str, arity: int) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(_REGISTER, [_REGISTER] * arity), name)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _swapped(builder: Any, register: Any, distance: int) -> Any:
    """Each float is the one `distance` further on, around the register's end."""
    places = ir.Constant(_INTEGERS, [ir.Constant(_INT, (i + distance) % WIDTH) for i in range(WIDTH)])
    return builder.shuffle_vector(register, register, places)


def _reduced(operation: Callable[..., Any]) -> Callable[..., Any]:
    """What numba calls to write a vector's sum or maximum."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        register = builder.extract_value(arguments[0], 0)
        for i in range(1, signature.args[0].registers):
            register = operation(builder, register, builder.extract_value(arguments[0], i))
        for distance in (4, 2, 1):
            register = operation(builder, register, _swapped(builder, register, distance))
        return builder.extract_element(register, ir.Constant(_INT, 0))

    return write


@intrinsic
def zeros(typing: Any, registers: Any) -> Any:
    """A vector of zeros, with as many registers as the tuple is long: numba knows types, not values."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _join(builder, [_constant(0.0)] * signature.return_type.registers)

    return Vector(len(registers))(registers), write


@intrinsic
def fill(typing: Any, number: Any, like: Any) -> Any:
    """The number in every place of a vector as long as `like`."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = context.cast(builder, arguments[0], signature.args[0], types.float32)
        empty = ir.Constant(_REGISTER, ir.Undefined)
        register = builder.insert_element(empty, value, ir.Constant(_INT, 0))
        register = builder.shuffle_vector(register, empty, _integer(0))
        return _join(builder, [register] * signature.return_type.registers)

    return like(number, like), write


@intrinsic
def load(typing: Any, array: Any, index: Any, like: Any) -> Any:
    """`array[index:]` as a vector as long as `like`."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = builder.bitcast(_pointer(context, builder, signature, arguments), _REGISTER.as_pointer())
        places = [builder.gep(start, [ir.Constant(_INT, i)]) for i in range(signature.return_type.registers)]
        return _join(builder, [builder.load(place, align=4) for place in places])

    return like(array, index, like), write


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write the vector to `array[index:]`."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = builder.bitcast(_pointer(context, builder, signature, arguments), _REGISTER.as_pointer())
        for i in range(signature.args[2].registers):
            place = builder.gep(start, [ir.Constant(_INT, i)])
            builder.store(builder.extract_value(arguments[2], i), place, align=4)
        return context.get_dummy_value()

    return types.void(array, index, vector), write


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of `array[index]`, which may lie outside."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.bitcast(_pointer(context, builder, signature, arguments), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, *(ir.Constant(_INT, value) for value in (1, 3, 1))])  # to write, near, data
        return context.get_dummy_value()

    return types.void(array, index), write


@intrinsic
def fetch_add(typing: Any, array: Any, index: Any, number: Any) -> Any:
    """The whole number `array[index]` before the number is added to it, in one step for all threads.

    What a thread wrote before its call is seen by all whose calls come later.
    """

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = context.cast(builder, arguments[2], signature.args[2], signature.return_type)
        return builder.atomic_rmw("add", _pointer(context, builder, signature, arguments), value, "seq_cst")

    return array.dtype(array, index, number), write


@intrinsic
def add(typing: Any, a: Any, b: Any) -> Any:
    """The sum a + b."""
    return a(a, b), _pointwise(lambda builder, x, y: builder.fadd(x, y))


@intrinsic
def subtract(typing: Any, a: Any, b: Any) -> Any:
    """The difference a − b."""
    return a(a, b), _pointwise(lambda builder, x, y: builder.fsub(x, y))


@intrinsic
def multiply(typing: Any, a: Any, b: Any) -> Any:
    """The product a·b."""
    return a(a, b), _pointwise(lambda builder, x, y: builder.fmul(x, y))


@intrinsic
def multiply_add(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """The product and sum a·b + c, rounded once."""
    return a(a, b, c), _pointwise(lambda builder, *x: builder.call(_llvm(builder, "llvm.fma.v8f32", 3), x))


@intrinsic
def maximum(typing: Any, a: Any, b: Any) -> Any:
    """The larger of each two."""
    return a(a, b), _pointwise(_larger)


@intrinsic
def nearest(typing: Any, a: Any) -> Any:
    """Each rounded to a whole number, halves to the even one."""
    return a(a), _pointwise(lambda builder, x: builder.call(_llvm(builder, "llvm.nearbyint.v8f32", 1), [x]))


@intrinsic
def below(typing: Any, a: Any, b: Any) -> Any:
    """1 where a < b, else 0."""

    def compare(builder: Any, x: Any, y: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", x, y), _constant(1.0), _constant(0.0))

    return a(a, b), _pointwise(compare)


@intrinsic
def largest(typing: Any, a: Any) -> Any:
    """The largest of a vector, a float32."""
    return types.float32(a), _reduced(_larger)


@intrinsic
def total(typing: Any, a: Any) -> Any:
    """The sum of a vector, a float32."""
    return types.float32(a), _reduced(lambda builder, x, y: builder.fadd(x, y))


LOWEST_EXPONENT = -70.0  # e^−70 = 4e-31; smaller ones become denormal after a product, and denormals are slow


@intrinsic
def exponential(typing: Any, a: Any) -> Any:
    """e^a for a ≤ 0, within 2e-7 of it relatively; below −70 it is e^−70.

    Cephes' expf: a = n·ln 2 + r, a polynomial for e^r on |r| ≤ ln 2 / 2, and n added to the exponent's bits.
    """

    def write(builder: Any, x: Any) -> Any:
        def times_plus(p: Any, q: Any, r: Any) -> Any:
            return builder.call(_llvm(builder, "llvm.fma.v8f32", 3), [p, q, r])

        x = _larger(builder, x, _constant(LOWEST_EXPONENT))
        n = builder.call(_llvm(builder, "llvm.nearbyint.v8f32", 1), [builder.fmul(x, _constant(1.4426950408889634))])
        r = times_plus(n, _constant(-0.693359375), x)  # ln 2 in two parts, the first with few bits
        r = times_plus(n, _constant(2.12194440e-4), r)
        p = _constant(1.9875691500e-4)
        for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            p = times_plus(p, r, _constant(coefficient))
        p = builder.fadd(times_plus(builder.fmul(p, r), r, r), _constant(1.0))
        power = builder.shl(builder.add(builder.fptosi(n, _INTEGERS), _integer(127)), _integer(23))
        return builder.fmul(p, builder.bitcast(power, _REGISTER))

    return a(a), _pointwise(write)
