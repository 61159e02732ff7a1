"""Answers of all variants in one batch that stays full: who ends makes room for who waits, and nothing is read twice.

Rows have slots of their own length instead of padding. Before a row is read, what it shares with others of its variant
(a system text, tools) is read once and copied. transformers' models are called with all tokens in one row and with
attention over slots; for models that this does not fit there is `decoding`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.locale import N_
from pytest_llmbench.generation.local.batch import Asked, Batch
from pytest_llmbench.generation.local.beginnings import Beginnings
from pytest_llmbench.generation.local.decoding import is_split
from pytest_llmbench.generation.local.drafts import MOST
from pytest_llmbench.generation.local.layout import READ, STEP, Layout
from pytest_llmbench.generation.local.low_rank import ways_told
from pytest_llmbench.generation.local.slots import ATTENTION, Piece, Reading, Slots, Stepping, attend
from pytest_llmbench.generation.local.tiles import laid_out, mixes
from pytest_llmbench.generation.rows import Row
from pytest_llmbench.generation.sampling import Sampling
from pytest_llmbench.models.held_weights import FEWER_ROWS, POSITIONS
from pytest_llmbench.models.loading_errors import is_out_of_memory
from pytest_llmbench.models.memory.estimate import READ_AT_ONCE

if TYPE_CHECKING:
    from torch import Tensor

_PROBE = 40  # tokens, more than a block of them
_SAME = {"float32": 1e-3}
_SAME_IN_HALF = 0.05
_GROWING_ROPES = {"dynamic", "longrope"}


@dataclasses.dataclass(frozen=True, slots=True)
class Unfit:
    """Why the engine cannot serve a model: a sentence that reports translate, and apart from it what was met."""

    reason: str
    met: str = ""


class RowEngine:
    """Decodes with a model whose attention can be replaced.

    Args:
        model: a causal language model inside PEFT's wrapper, or without one.
        pad: the token of filling.
        places: the most rows at once.
        exact: whether rows are computed in tiles, so that they do not depend on their neighbours.
        guesses: whether a step tries guesses at the next tokens; `unfit` finds out whether that leaves answers alone.
    """

    def __init__(self, model: Any, pad: int, places: int, *, exact: bool, guesses: bool = False) -> None:
        self.mixed = mixes(model)
        self._model, self._pad, self._exact = model, pad, exact
        self._device = model.get_input_embeddings().weight.device
        self._layout = Layout()
        self._slots = Slots(places)
        self._most = self._open = places
        self._fits: dict[int, int] = {}
        self._beginnings = Beginnings()
        self._hidden: Any = None
        self.last_hidden: Any = None
        self.guesses = guesses

    @property
    def kind(self) -> str:
        """How answers are computed, as far as it decides their bits."""
        tiles = f"batches of tiles of {STEP} and {READ}" if self._exact else "whole batches"
        return f"{'one pass for all variants' if self.mixed else 'a variant at a time'}, {tiles}"

    @property
    def spared(self) -> dict[str, Any]:
        """What makes answers faster and leaves their bits alone: whether guesses are tried, and how parts are made."""
        return {"guesses": self.guesses, "low_rank_parts": ways_told(self._layout)}

    def decode(
        self,
        asked: Sequence[Asked],
        sampling: Sampling,
        grown: Callable[[Sequence[Row]], None] = lambda _: None,
    ) -> Iterator[Row]:
        """Answer all, yielding each row as it ends.

        Raises:
            torch.OutOfMemoryError: the batch does not fit; rows already yielded are complete.
        """
        with self._at_work(), self._room(len(asked), max(one.needed for one in asked)):
            batch = Batch(self, asked, sampling)
            while batch.busy:
                ended = batch.advance()
                grown([one.row for one in (*batch.active, *ended)])
                yield from (one.row for one in ended)

    def read(self, texts: Sequence[tuple[Sequence[int], int]], adapter: str | None = None) -> list[Tensor]:
        """The mean of the last hidden states over each text's tokens from the given place on; (hidden size,)."""
        import torch

        means = []
        longest = max(len(tokens) for tokens, _ in texts)
        with self._at_work(), self._room(len(texts), longest), torch.inference_mode():
            shared = self.shared([(adapter, tokens[:start]) for tokens, start in texts])
            for at in range(0, len(texts), self._slots.count):
                part = texts[at : at + self._slots.count]
                places = [
                    (slot, self.begin(slot, adapter, tokens, known))
                    for slot, ((tokens, _), known) in enumerate(zip(part, shared[at:], strict=False))
                ]
                pieces = [
                    Piece(slot, known, tokens[known:]) for (slot, known), (tokens, _) in zip(places, part, strict=True)
                ]
                states = self.hidden(pieces, [adapter] * len(pieces))
                for state, (slot, known), (_, start) in zip(states, places, part, strict=True):
                    means.append(state[start - known :].mean(0))
                    if not means[-1].isfinite().all():
                        self.clear(slot, 0)
        return means

    def unfit(self) -> Unfit | None:
        """Why this engine cannot serve the model, found out by comparing it with the model's own attention."""
        config = self._model.config.get_text_config()
        rope = getattr(config, "rope_parameters", None) or {}
        accepted = inspect.signature(self._model.forward).parameters
        if not self._model._can_set_attn_implementation():  # noqa: SLF001  # there is no public name
            return Unfit(N_("its attention cannot be replaced"))
        if is_split(self._model):
            return Unfit(
                N_('its layers lie on several devices (where one has room for all, set model.device_map: {"": 0})')
            )
        if not {"position_ids", "logits_to_keep"} <= accepted.keys():
            return Unfit(N_("its positions or logits cannot be chosen"))
        if rope.get("rope_type") in _GROWING_ROPES:
            return Unfit(N_("its positions depend on the longest row"))
        if odd := set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
            return Unfit(N_("it has layers of a kind of their own"), min(odd))
        return self._differs()

    def _differs(self) -> Unfit | None:
        import torch

        vocabulary = self._model.config.get_text_config().vocab_size
        tokens = [(7 * place + 3) % vocabulary for place in range(_PROBE)]
        with torch.inference_mode():
            own = self._model(input_ids=torch.tensor([tokens], device=self._device), use_cache=False).logits[0, -2:]
        try:
            with self._at_work(), self._few_slots(1, _PROBE), torch.inference_mode():
                read = self.logits([Piece(0, 0, tokens[:-1])], [None])
                step = self.step_logits([Piece(0, _PROBE - 1, tokens[-1:])], [None])
                self.guesses = self._exact and self._guesses_hold(tokens)
        except (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            return Unfit(N_("its layers refuse"), str(error))
        gap = float((torch.cat([read, step[:1]]).float() - own.float()).abs().max() / own.float().abs().max())
        same = _SAME.get(str(own.dtype).removeprefix("torch."), _SAME_IN_HALF)
        return None if gap <= same else Unfit(N_("its logits differ, as a share of the largest"), f"{gap:.2g}")

    def _guesses_hold(self, tokens: Sequence[int]) -> bool:
        """Whether tokens have the bits that they have alone, with any number of guesses behind them or their neighbour.

        Not where experts see as many rows as are sent to them.
        """
        import torch

        if any(name.endswith("experts") for name, _ in self._model.named_modules()):
            return False
        place, fed = _PROBE - 1, [tokens[-1], *tokens[:MOST]]
        with self._few_slots(MOST + 1, _PROBE + MOST):
            self.hidden([Piece(slot, 0, tokens[:place]) for slot in (0, 1)], [None, None])
            together = [
                self.step_logits([Piece(0, place, fed[:1]), Piece(1, place, fed[:width])], [None, None])
                for width in range(2, len(fed) + 1)
            ]
            for slot in (0, *range(2, len(fed))):
                self.move(1, slot, place + MOST)
            pieces = [Piece(slot, place + slot, [token]) for slot, token in enumerate(fed)]
            alone = self.step_logits(pieces, [None] * len(fed))
            return all(torch.equal(made, torch.cat([alone[:1], alone[: len(made) - 1]])) for made in together)

    @contextlib.contextmanager
    def _few_slots(self, count: int, positions: int) -> Iterator[None]:
        """Inside the block there are so many slots and no more: trying the model takes no memory for all places."""
        usual, self._slots = self._slots, Slots(count)
        try:
            self._slots.reserve(positions)
            yield
        finally:
            self._slots = usual

    @contextlib.contextmanager
    def _room(self, rows: int, positions: int) -> Iterator[None]:
        """Inside the block there are slots for rows of so many positions.

        Where memory runs out, half as many rows of this length, or longer ones, are next worked on; of shorter ones as
        many as take no more.
        """
        known = self._fits.items()
        fit = min([self._most, *(count * max(length, positions) // positions for length, count in known)])
        # on a CPU a slot takes no memory before it is written to, and steps try the more guesses the more there are
        wanted = fit if self._device.type == "cpu" else min(fit, rows)
        if not wanted <= self._slots.count <= fit or positions > self._slots.capacity:
            self._slots = Slots(wanted)
        self._slots.reserve(positions)
        self._open = self._slots.count
        if self._device.type == "cpu":  # there the kernel ends who takes too much, without an error to go on from
            self._open = min(fit, max(FEWER_ROWS, fit * POSITIONS // positions))
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                self._fits[positions] = max(1, min(rows, self._slots.count) // 2)
            raise

    # what a batch works with

    def shared(self, prompts: Sequence[tuple[str | None, Sequence[int]]]) -> list[int]:
        """How many tokens at each prompt's beginning are worth reading once for several, or were read before."""
        return self._beginnings.shared(prompts)

    def begin(self, slot: int, adapter: str | None, tokens: Sequence[int], known: int) -> int:
        """Have the first `known` tokens in the slot, reading those that nobody read before; returns their number."""
        if not known:
            return 0
        beginning = tuple(tokens[:known])
        ready, snapshot = self._beginnings.known(adapter, beginning)
        if snapshot is not None:
            self._slots.restore(slot, snapshot, ready)
        if ready < known:
            self.hidden([Piece(slot, ready, beginning[ready:])], [adapter])
            self._beginnings.keep(adapter, beginning, self._slots.snapshot(slot, known))
        return known

    def move(self, source: int, target: int, positions: int) -> None:
        """Put a row into another slot."""
        self._slots.move(source, target, positions)

    def clear(self, slot: int, start: int) -> None:
        """Forget what a slot has from a position on."""
        self._slots.clear(slot, start)

    @property
    def looked_s(self) -> float:
        """The seconds spent so far on finding out how products are best made, for which no answer is to blame."""
        return self._layout.products.looked_s

    @property
    def places(self) -> int:
        """The most rows at once: on a CPU fewer where they are longer than memory was reckoned for."""
        return self._open

    def hidden(self, pieces: Sequence[Piece], adapters: Sequence[str | None]) -> list[Tensor]:
        """The last hidden states of each piece, (tokens, hidden size), float32."""
        import torch

        found: list[list[Tensor]] = [[] for _ in pieces]
        for part in _portions(pieces):
            self._read([piece for _, piece in part], [adapters[number] for number, _ in part], self._decoder())
            ends = 0
            for number, piece in part:
                found[number].append(self._hidden[0, ends : ends + len(piece.tokens)].float())
                ends += len(piece.tokens)
        return [torch.cat(states) for states in found]

    def logits(self, pieces: Sequence[Piece], adapters: Sequence[str | None]) -> Tensor:
        """The logits after each piece, (pieces, vocabulary)."""
        import torch

        last: dict[int, Tensor] = {}
        for part in _portions(pieces):
            ends = list(_ends([piece for _, piece in part]))
            keep = torch.tensor([end - 1 for end in ends], device=self._device)
            made = self._read([piece for _, piece in part], [adapters[number] for number, _ in part], self._model, keep)
            last |= {number: made.logits[0, row] for row, (number, _) in enumerate(part)}
        return torch.stack([last[number] for number in range(len(pieces))])

    def step_logits(self, pieces: Sequence[Piece], adapters: Sequence[str | None]) -> Tensor:
        """The logits after each token of the pieces, one piece a slot; (tokens of all, vocabulary)."""
        count = sum(len(piece.tokens) for piece in pieces)
        length = -(-count // STEP) * STEP if self._exact else count
        step = Stepping(self._slots, pieces, length, self._device, exact=self._exact)
        made = self._forward(self._model, pieces, adapters, step, STEP)
        self.last_hidden = self._hidden[0, :count].float()
        logits: Tensor = made.logits[0, :count]
        return logits

    def _read(
        self, pieces: Sequence[Piece], adapters: Sequence[str | None], model: Any, keep: Tensor | None = None
    ) -> Any:
        count = sum(len(piece.tokens) for piece in pieces)
        length = -(-count // READ) * READ if self._exact else count
        reading = Reading(self._slots, pieces, length, self._device)
        kept = {"logits_to_keep": keep} if keep is not None else {}
        return self._forward(model, pieces, adapters, reading, READ, **kept)

    def _forward(  # what the model is, what it reads, and how
        self,
        model: Any,
        pieces: Sequence[Piece],
        adapters: Sequence[str | None],
        attention: Reading | Stepping,
        tile: int,
        **kept: Tensor,
    ) -> Any:
        import torch

        tokens = [token for piece in pieces for token in piece.tokens]
        filled = attention.positions.shape[1] - len(tokens)
        rows: dict[str, list[int]] = {}
        for end, piece, adapter in zip(_ends(pieces), pieces, adapters, strict=True):
            if adapter is not None:
                rows.setdefault(adapter, []).extend(range(end - len(piece.tokens), end))
        self._layout.change(tile if self._exact else 0, attention.positions.shape[1], rows, self._device)
        return model(
            input_ids=torch.tensor([tokens + [self._pad] * filled], device=self._device),
            position_ids=attention.positions,
            use_cache=False,
            llmbench_rows=attention,
            **kept,
        )

    def _decoder(self) -> Any:
        return self._model.get_decoder()

    def _keep_hidden(self, _module: Any, _args: Any, output: Any) -> None:
        self._hidden = output.last_hidden_state

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """Inside the block the model's attention and layers are ours; a failure forgets what was kept of rows."""
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION, attend)
        config = self._model.config
        usual = config._attn_implementation  # noqa: SLF001  # the setter that transformers' own method uses
        hook = self._decoder().register_forward_hook(self._keep_hidden)
        try:
            config._attn_implementation = ATTENTION  # noqa: SLF001
            with laid_out(self._model, self._layout, mixed=self.mixed, exact=self._exact):
                yield
        except BaseException:
            self._slots = Slots(self._slots.count)
            self._beginnings.forget()
            raise
        finally:
            config._attn_implementation = usual  # noqa: SLF001
            hook.remove()
            self._hidden = None


def _ends(pieces: Sequence[Piece]) -> Iterator[int]:
    """Where each piece ends among the tokens of all."""
    end = 0
    for piece in pieces:
        end += len(piece.tokens)
        yield end


def _portions(pieces: Sequence[Piece]) -> Iterator[list[tuple[int, Piece]]]:
    """Pieces, by number, for one forward each; a long one is cut."""
    portion: list[tuple[int, Piece]] = []
    room = READ_AT_ONCE
    for number, piece in enumerate(pieces):
        start = 0
        while start < len(piece.tokens):
            end = min(len(piece.tokens), start + room)
            portion.append((number, Piece(piece.slot, piece.start + start, piece.tokens[start:end])))
            room, start = room - (end - start), end
            if not room:
                yield portion
                portion, room = [], READ_AT_ONCE
    if portion:
        yield portion
