"""Configuring a training: dataset, model, task, every setting, and what it will take before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from pytest_llmbench.core.errors import LLMBenchError, UsageError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.models.registry import TASKS, Preset, Task, load_registry
from pytest_llmbench.studio.jobs import StartFinetuning
from pytest_llmbench.studio.models import Estimate, Hyperparameters, ModelCard, newest_speed
from pytest_llmbench.studio.pages import hyperparameters
from pytest_llmbench.studio.pages.rendering import PageRoute, is_fragment, page, spoken
from pytest_llmbench.studio.services import Services, Studio

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_Form = TypeVar("_Form", bound=BaseModel)
_Text = Annotated[str, Query(max_length=200)]
_SEE_OTHER, _NO_CONTENT = 303, 204
_TASKS: Mapping[Task, tuple[str, str]] = {
    "chat": (N_("Chat"), N_("Conversations: the model answers as an assistant.")),
    "completion": (N_("Completion"), N_("Texts that go on: one pass over the rows.")),
    "classification": (N_("Classification"), N_("Short answers from a fixed set: shorter rows, more passes.")),
}


@router.get("/training")
def training(
    request: Request,
    studio: Studio,
    dataset_id: _Text = "",
    model_name: _Text = "",
) -> HTMLResponse:
    """The form."""
    found = studio.models.available()
    card = _card(studio, model_name)
    return page(
        request,
        "training",
        datasets=studio.datasets.list(),
        dataset_id=dataset_id,
        models=found.models,
        machine=found.machine,
        tasks=_TASKS,
        **_settings(request, card, {}),
    )


@router.get("/training/settings")
def settings(request: Request, studio: Studio) -> HTMLResponse:
    """What depends on model and task, anew; what was typed stays."""
    given = dict(request.query_params)
    card = _card(studio, given.get("model_name", ""))
    return page(request, "training_settings", **_settings(request, card, given))


@router.get("/training/estimate")
def estimate(request: Request, studio: Studio) -> HTMLResponse:
    """Memory and time of the training that the form describes now, or what is wrong with it."""
    try:
        found = _estimated(studio, _asked(dict(request.query_params)))
    except LLMBenchError as error:
        return page(request, "message", message=str(error))
    return page(request, "training_estimate", estimate=found)


def _estimated(studio: Services, asked: StartFinetuning) -> Estimate:
    given = asked.model_dump(include=set(Hyperparameters.model_fields), exclude_none=True)
    if isinstance(asked.targets, tuple):
        given["targets"] = ",".join(asked.targets)
    rows = studio.datasets.size(studio.datasets.get(asked.dataset_id))
    speed = newest_speed(studio.jobs.list(), asked.model_name)
    return studio.models.estimate(asked.model_name, _checked(Hyperparameters, given), rows, speed)


@router.post("/training")
async def start(request: Request, studio: Studio) -> Response:
    """Queue it, and go where it can be watched."""
    form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    address = f"/jobs/{(await run_in_threadpool(studio.jobs.start_finetuning, _asked(form))).id}"
    if is_fragment(request):
        return Response(status_code=_NO_CONTENT, headers={"HX-Redirect": address})
    return RedirectResponse(address, _SEE_OTHER)


def _settings(request: Request, card: ModelCard, given: Mapping[str, str]) -> dict[str, Any]:
    task = given.get("task", "")
    preset: Preset = card.presets[task if task in TASKS else "default"]
    shown = hyperparameters.fields(preset, given, spoken(request))
    return {"card": card, "fields": shown, "opened": any(one.value for one in shown[1:])}


def _card(studio: Services, name: str) -> ModelCard:
    """The model that was chosen, else the project's own, else the one that is recommended most."""
    cards = {card.id: card for card in studio.models.available().models}
    own = load_registry().find(studio.options.settings.model.base)
    return cards.get(name) or cards.get(own.alias if own else "") or next(iter(cards.values()))


def _asked(form: Mapping[str, str]) -> StartFinetuning:
    """The form as the request that the API takes. Raises UsageError."""
    return _checked(StartFinetuning, hyperparameters.chosen(form))


def _checked(form: type[_Form], given: Mapping[str, Any]) -> _Form:
    """What was given, as `form` has it.

    Raises:
        UsageError: a field is wrong; each is named.
    """
    try:
        return form.model_validate(given)
    except ValidationError as error:
        faults = {str(one["loc"][0]): str(one["msg"]) for one in error.errors()}
        raise UsageError("\n".join(f"{name}: {told}" for name, told in faults.items())) from error
