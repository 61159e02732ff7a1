"""The model libraries without their progress bars and notices, which would break our own progress line."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

_NO_COMPILER = "TORCHDYNAMO_DISABLE"


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence transformers, bitsandbytes and PEFT inside the block; their settings come back. Errors are still raised.

    Their Python warnings are silenced too: none is the user's to mend, and under `-W error` one would stop the loading.
    """
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    bitsandbytes = logging.getLogger("bitsandbytes")
    level = bitsandbytes.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    bitsandbytes.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        bitsandbytes.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def import_bitsandbytes() -> None:
    """Import it without PyTorch's compiler, before PEFT imports it with.

    It asks for the compiler where no compiled function would be called: 0.9 s, and warnings of TorchScript's end.

    Raises:
        ImportError: it is not installed.
    """
    disabled = os.environ.get(_NO_COMPILER)
    os.environ[_NO_COMPILER] = "1"
    try:
        import bitsandbytes  # noqa: F401
    finally:
        if disabled is None:
            del os.environ[_NO_COMPILER]
        else:
            os.environ[_NO_COMPILER] = disabled
