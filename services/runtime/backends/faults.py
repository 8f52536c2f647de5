"""What a device's error means, whichever library words it."""

from services.runtime.backends import DeviceLost, OutOfMemory

_MEMORY = ("out of memory", "failed to allocate memory", "bad allocation", "bad_alloc", "status_alloc_failed")
# Errors of CUDA after which every further call of the process fails as well (CUDA Runtime API, cudaError).
_LOST = (
    *("illegal memory access", "illegal instruction", "misaligned address", "device-side assert", "invalid program"),
    *("unspecified launch failure", "launch timed out", "hardware stack error", "context is destroyed", "ecc error"),
    "device lost",
)


def to_fault(error: Exception) -> Exception:
    """OutOfMemory or DeviceLost where the error says so, else the error itself."""
    text = str(error).lower()
    if any(words in text for words in _MEMORY):
        return OutOfMemory(str(error))
    if any(words in text for words in _LOST):
        return DeviceLost(str(error))
    return error
