"""What goes wrong, as problem details (RFC 9457): the one form that every error of the service has."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ragstone.api.schemas import Problem
from ragstone.errors import (
    CatalogUnavailable,
    FilterError,
    IndexUnavailable,
    NothingIndexed,
    PromptTooLong,
    ProviderError,
    RagstoneError,
    SettingsError,
)

MEDIA_TYPE = "application/problem+json"
STATUS: dict[type[RagstoneError], int] = {
    FilterError: 422,
    NothingIndexed: 409,
    SettingsError: 422,
    PromptTooLong: 422,
    ProviderError: 502,
    CatalogUnavailable: 503,
    IndexUnavailable: 503,
}


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses for a route's OpenAPI description."""
    return {status: {"content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}} for status in statuses}


def handle_errors(service: FastAPI) -> None:
    """Answer every error that is expected with a problem."""
    service.add_exception_handler(RagstoneError, _on_error)
    service.add_exception_handler(RequestValidationError, _on_invalid_request)
    service.add_exception_handler(HTTPException, _on_http_error)


def problem_of(error: RagstoneError) -> Problem:
    """An error of ours as callers see it."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    return Problem(title=str(error), status=status, detail=error.hint, code=error.code)


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RagstoneError)
    return _response(problem_of(error))


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [_field_and_reason(one) for one in error.errors()]
    fields = ", ".join(dict.fromkeys(field for field, _ in wrong))
    problem = Problem(
        title=f"the request does not fit: {fields}",
        status=422,
        detail="; ".join(f"{field}: {reason}" for field, reason in wrong),
        code="invalid_request",
    )
    return _response(problem)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    """No such path, another method, a body that is not text."""
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).name.lower()
    problem = Problem(title=error.detail, status=error.status_code, detail="/docs shows what there is", code=code)
    return _response(problem, error.headers)


def _field_and_reason(error: dict[str, Any]) -> tuple[str, str]:
    where = error["loc"][1:]  # without "body"
    if error["type"] == "json_invalid":
        return "body", f"not valid JSON at character {where[0]}: {error['ctx']['error']}"
    return ".".join(str(part) for part in where) or "body", error["msg"]


def _response(problem: Problem, headers: Any = None) -> JSONResponse:
    return JSONResponse(problem.model_dump(), problem.status, headers, media_type=MEDIA_TYPE)
