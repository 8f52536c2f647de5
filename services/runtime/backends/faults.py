"""What a device's error means, whichever library words it."""

from services.runtime.backends import DeviceLost, OutOfMemory

_MEMORY = ("out of memory", "failed to allocate memory", "bad allocation", "bad_alloc", "cudnn_status_alloc_failed")
_LOST = ("illegal memory access", "device-side assert", "unspecified launch failure", "device lost", "ecc error")


def to_fault(error: Exception) -> Exception:
    """OutOfMemory or DeviceLost where the error says so, else the error itself."""
    text = str(error).lower()
    if any(words in text for words in _MEMORY):
        return OutOfMemory(str(error))
    if any(words in text for words in _LOST):
        return DeviceLost(str(error))
    return error
