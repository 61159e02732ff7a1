"""The tokenizer that training tools leave beside an adapter: what the adapter's ids mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import AdapterError
from pytest_llmbench.models.adapters import Adapter
from pytest_llmbench.models.quiet import quiet_libraries

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_PROBE = "Été 2026 :\n\n1. «Ouvre» Chrome…\n\tif x == 10:  # 1,234.5 €\n\n\nfin 🙂"


def adapter_tokenizer(adapter: Adapter, base: Any, rows: int) -> Any | None:
    """The tokenizer in the adapter's folder; None where there is none, or one that reads and writes as the base's.

    Args:
        adapter: whose folder is looked at.
        base: the base's tokenizer.
        rows: of the base's embedding.

    Raises:
        AdapterError: it cannot be read, or its tokens are more than the base has embeddings for.
    """
    folder = Path(adapter.path)
    if not any((folder / name).is_file() for name in _FILES):
        return None
    from transformers import AutoTokenizer

    try:
        with quiet_libraries():
            own = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)  # None would ask
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError) as error:
        raise AdapterError(
            f"{adapter.path}: its tokenizer cannot be read ({error}); save it again, or remove the tokenizer's files "
            "where it is the base's own"
        ) from error
    if _reads_as(base, own):
        return None
    known = base.get_vocab()
    if outside := {token: place for token, place in own.get_vocab().items() if place >= rows and token not in known}:
        first = min(outside, key=lambda token: outside[token])
        raise AdapterError(
            f"{adapter.path}: its tokenizer has {len(own)} tokens, and the base has embeddings for {rows}: "
            f"{first!r} (id {outside[first]}) has none; give the base that was enlarged for it "
            f"(resize_token_embeddings({len(own)}), save_pretrained) as model.base, or train without new tokens"
        )
    return own


def _reads_as(base: Any, own: Any) -> bool:
    """Whether ids mean the same text to both, and both end it with the same token, where the adapter's names one."""
    if own.eos_token_id not in (None, base.eos_token_id) or own.bos_token_id not in (None, base.bos_token_id):
        return False
    if own.get_vocab() != base.get_vocab():
        return False
    return bool(own(_PROBE)["input_ids"] == base(_PROBE)["input_ids"])
