"""What the finetune items of one pytest process share: one short training, and the questions about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.plugin import options
from pytest_llmbench.plugin.session import SESSION, ending

if TYPE_CHECKING:
    from pytest_llmbench.finetune.training_checks import TrainingProof
    from pytest_llmbench.finetune.training_log import Moment

_PLAIN_EVERY = 10


class ShortTraining:
    """Asks what must be true of a short training; a question fails its test with the reason.

    What is wrong with the settings or the machine ends the session with one message.
    """

    def __init__(self, proof: TrainingProof, session: pytest.Session) -> None:
        self.proof, self._session = proof, session

    def check_loss(self) -> None:
        """The loss falls by `finetune.loss_fall`."""
        self._ask("loss")

    def check_gradients(self) -> None:
        """Every LoRA matrix gets a gradient."""
        self._ask("gradients")

    def check_answers_alone(self) -> None:
        """Prompts are masked, and each label is its answer's token."""
        self._ask("answers_alone")

    def check_routing(self) -> None:
        """Held-out commands are routed better than by the base, at `gate.alpha`."""
        self._ask("routing")

    def check_reload(self) -> None:
        """The saved adapter gives the same logits, within `finetune.logit_difference`."""
        self._ask("reload")

    def check_resume(self) -> None:
        """A resumed training ends with the weights of an uninterrupted one."""
        self._ask("resume")

    def check_memory(self) -> None:
        """Peak memory is within the estimate and `finetune.memory_margin`."""
        self._ask("memory")

    def check_compared(self) -> None:
        """With `--llmbench-compare`, no metric of the training is worse than that training's."""
        self._ask("compared")

    def _ask(self, question: str) -> None:
        from pytest_llmbench.finetune.training_log import DestroyedTraining

        with ending(self._session):
            try:
                faults: list[str] = getattr(self.proof, question)()
            except DestroyedTraining as error:  # the verdict on the training, and no mistake in the settings
                faults = [options.told_error(error)]
        if faults:
            pytest.fail("\n".join(faults), pytrace=False)


def start_training(request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> ShortTraining:
    """The session's training; it runs when the first question needs it."""
    from pytest_llmbench.finetune.sft import Watch
    from pytest_llmbench.finetune.training_checks import TrainingProof

    ours = request.config.stash[SESSION]

    def tell(moment: Moment) -> None:
        step = moment.step
        left = f", {moment.seconds_left:.0f} s left" if moment.seconds_left is not None else ""
        line = f"training {step.step}/{step.of}, loss {step.loss:.3f}, accuracy {step.token_accuracy:.0%}{left}"
        if ours.line.renews:
            ours.line.show(f"llmbench: {line}")
        elif step.step % _PLAIN_EVERY == 0:
            ours.line.say(line)
        if step.step == step.of:
            ours.line.settle(f"llmbench: {line}")

    def prepare(trainer: Any) -> None:
        request.config.hook.pytest_llmbench_trainer(trainer=trainer)

    with ending(request.session):
        settings = ours.settings
        ours.announcements  # noqa: B018  # from here on they are listened to
        named = options.chosen(request.config, options.SAVE)
        proof = TrainingProof(
            settings,
            factory.mktemp("finetune"),
            Watch(on_moment=tell, prepare=prepare),
            save_as=named[0] if named else "",
        )
    return ShortTraining(proof, request.session)
