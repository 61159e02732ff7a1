"""The tools this project is measured against, in throw-away environments."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

VERSIONS: Mapping[str, str] = {"servebench": "1.1.3", "guidellm": "0.8.1", "aiperf": "0.13.0"}
_CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"  # an unpinned torch is several GB


class NotInstalledError(Exception):
    """A peer that cannot take part, and why."""


def program(peer: str, folder: Path) -> Path:
    """The peer's command, installed into an environment of its own below `folder` unless it is there already.

    Raises:
        NotInstalledError: pip refuses.
    """
    home = folder / peer
    command = home / "bin" / peer
    if not command.exists():
        venv.create(home, with_pip=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--constraint", str(_CONSTRAINTS)]
        ran = subprocess.run([*pip, f"{peer}=={VERSIONS[peer]}"], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise NotInstalledError(f"pip install {peer} failed: {ran.stderr.strip()[-300:]}")
        print(f"installed {peer}", file=sys.stderr)
    return command


def environment(name: str, versions: Mapping[str, str], folder: Path) -> Path:
    """The interpreter of an environment below `folder` that has these packages, made unless it is there already.

    Raises:
        NotInstalledError: pip refuses.
    """
    home = folder / name
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        wanted = [f"{package}=={version}" for package, version in versions.items()]
        ran = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise NotInstalledError(f"pip install {' '.join(wanted)} failed: {ran.stderr.strip()[-300:]}")
    return python


def byte_tokenizer(folder: Path) -> Path:
    """A tokenizer without merges, which guidellm and aiperf make their prompts with: each byte is a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: number for number, token in enumerate(["<s>", *alphabet])}
    made = Tokenizer(models.BPE(vocab=words, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    whole = PreTrainedTokenizerFast(tokenizer_object=made, **dict.fromkeys(("bos_token", "eos_token"), "<s>"))
    whole.save_pretrained(folder)
    return folder
