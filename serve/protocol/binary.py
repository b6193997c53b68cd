"""The binary tensor data extension of the Open Inference Protocol: tensors as bytes behind the JSON.

The header `Inference-Header-Content-Length` says where the JSON ends. The bytes of the tensors follow in the order in
which the JSON names them, little-endian, row by row; a boolean is one byte. The protocol of Triton Inference Server:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import BadRequest
from serve.protocol.checks import shown

LENGTH_HEADER = "inference-header-content-length"
SIZE, WANTED, ALL_WANTED = "binary_data_size", "binary_data", "binary_data_output"
DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8"), "BOOL": np.dtype(np.uint8)}


def split(body: bytes, length: str | None) -> tuple[bytes, memoryview]:
    """The JSON and the bytes behind it.

    Args:
        body: The body of a request.
        length: What `Inference-Header-Content-Length` says; None: all of it is JSON.

    Raises:
        BadRequest: If the header is not a number of bytes that the body has.
    """
    if length is None:
        return body, memoryview(b"")
    if not (length.isascii() and length.isdecimal()) or len(length) > 18 or int(length) > len(body):
        raise BadRequest(f"{LENGTH_HEADER}: got {shown(length)}, allowed is 0 to {len(body)}, the body's size [bytes]")
    end = int(length)
    return body[:end], memoryview(body)[end:]


class Tail:
    """The bytes behind the JSON, taken tensor by tensor."""

    __slots__ = ("_bytes", "_taken")

    def __init__(self, content: memoryview) -> None:
        self._bytes = content
        self._taken = 0

    def take(self, size: Any, datatype: str, shape: tuple[int, ...], what: str) -> NDArray[Any]:
        """The next tensor.

        Args:
            size: What the request says that it measures [bytes].
            datatype: Its datatype.
            shape: Its shape.
            what: Name of the tensor, for messages.

        Raises:
            BadRequest: If the size is not that of the shape, or fewer bytes are left.
        """
        dtype = DTYPES[datatype]
        wanted = dtype.itemsize * int(np.prod(shape))
        if type(size) is not int or size != wanted:
            raise BadRequest(f"{what}.{SIZE}: got {shown(size)}, allowed is {wanted}, for {datatype} {list(shape)}")
        left = len(self._bytes) - self._taken
        if left < size:
            raise BadRequest(f"{what}.{SIZE}: got {size}, but {left} bytes are left in the body")
        array = np.frombuffer(self._bytes, dtype, size // dtype.itemsize, self._taken).reshape(shape)
        self._taken += size
        if datatype == "BOOL":
            return array != 0
        # Behind JSON of any length numbers may lie at addresses that the processor cannot read them from.
        return np.require(array, requirements=("C", "A"))

    def finish(self) -> None:
        """Raises BadRequest if bytes are left over."""
        left = len(self._bytes) - self._taken
        if left:
            raise BadRequest(f"body: got {left} bytes more than the inputs' {SIZE} add up to")


def as_bytes(array: NDArray[Any], datatype: str) -> bytes:
    """A tensor's bytes."""
    return np.ascontiguousarray(array, np.bool_ if datatype == "BOOL" else DTYPES[datatype]).tobytes()
