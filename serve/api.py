"""All routes, as a FastAPI app; `infer` and `act` are here to be documented, for the front answers them itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import fastapi_offline
import orjson
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from serve import openapi
from serve.description import described_model, summary, version_numbers
from serve.errors import BadRequest, NotFound, ServiceError, TooLarge
from serve.guard import ANYONE, Caller
from serve.metrics import CONTENT_TYPE, render
from serve.models import Models, ServedModel
from serve.protocol import v2
from serve.protocol.checks import flag, json_object, known
from serve.service import PolicyService

NAME = "entrepot"
PAGE = Path(__file__).parent / "page"
_SMALL = 65_536
_SUMMARY = """Trained policies, by the [Open Inference Protocol V2](https://github.com/kserve/open-inference-protocol) \
with the binary tensor data extension, and by named observations.

Whatever is refused comes with one sentence, `{"error": "field: what was given, what is allowed"}`, and every answer
bears the header `x-request-id` (yours, if you send one)."""
_TAGS: list[dict[str, Any]] = [
    {"name": "Policies", "description": "Named observations in, named actions out; and what each policy is."},
    {"name": "Open Inference Protocol V2", "description": "For the clients of Triton, KServe and MLServer."},
    {"name": "Service", "description": "How the service is."},
]
_POLICIES, _OIP, _SERVICE = ([tag["name"]] for tag in _TAGS)
_Version = Annotated[str | None, Query(description="Number or alias; the version that is served if not given.")]


class Json(JSONResponse):
    """JSON by orjson."""

    def render(self, content: Any) -> bytes:
        """The bytes."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


class _Api(FastAPI):
    """An app whose document names the models of the moment."""

    def __init__(self, models: Callable[[], Models], **settings: Any) -> None:
        super().__init__(**settings)
        self._models = models
        self._document: tuple[int, dict[str, Any]] | None = None

    def openapi(self) -> dict[str, Any]:
        """The document, made anew when the models have changed."""
        models = self._models()
        if self._document is None or self._document[0] != id(models):
            self._document = (id(models), openapi.document(self, models))
        return self._document[1]


def make_api(service: PolicyService) -> FastAPI:
    """The app for all routes.

    Args:
        service: What answers.
    """
    # Where keys are wanted, the document, which is open to all, names no models.
    app = _Api(
        lambda: service.models if service.guard.open else _NO_MODELS,
        title="Entrepot",
        version=_release(),
        description=_SUMMARY,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=Json,
    )
    _add_failures(app)
    _add_policies(app, service)
    _add_protocol(app)
    _add_models(app, service)
    _add_service(app, service)
    _add_pages(app)
    return app


_NO_MODELS = Models()


def _add_failures(app: FastAPI) -> None:
    """Every refusal is one sentence in `error`."""

    @app.exception_handler(ServiceError)
    async def refused(request: Request, error: ServiceError) -> Response:
        return Response(error.refusal().body(), error.status, error.headers, "application/json")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return Json({"error": f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}"}, 400)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            message = f"path: got {request.url.path[:200]!r}, allowed are those of /docs"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "others")
            message = f"method: got {request.method}, allowed is {allowed}"
        else:
            message = str(error.detail)
        return Json({"error": message}, error.status_code, error.headers)


def _add_policies(app: FastAPI, service: PolicyService) -> None:
    """`/v1/policies`: named observations."""

    @app.get("/v1/policies", tags=_POLICIES, summary="List the policies", responses=_errors("401", "403", "429"))
    async def list_policies(request: Request) -> Response:
        caller = _caller(request)
        return Json({"policies": [summary(model) for model in service.models if caller.may_ask(model.name)]})

    @app.get("/v1/policies/{name}", tags=_POLICIES, summary="Describe a policy", responses=_errors())
    async def describe_policy(name: str, version: _Version = None) -> Response:
        """Agents, features, actions, figures, and an example to send to `act`."""
        choice = await service.choose(name, version) if version else None
        model = service.models.model(name)
        return Json(described_model(model, choice.version if choice else model.version))

    @app.post("/v1/policies/{name}/act", tags=_POLICIES, summary="Act", openapi_extra=openapi.act_extra())
    async def act(name: str) -> Response:
        """Actions for named observations, of one step of a team, of several, or for plain rows of one module.

        Any of the agents may be asked alone. Actions are what the environment's `step` takes. Recurrent state goes
        with the request (`state`) or stays here by `session`.
        """
        raise _not_here()


def _add_protocol(app: FastAPI) -> None:
    """`infer`."""

    @app.post("/v2/models/{name}/infer", tags=_OIP, summary="Infer", openapi_extra=openapi.infer_extra())
    async def infer(name: str) -> Response:
        """Actions for tensors of observations; JSON, or binary tensor data behind the JSON."""
        raise _not_here()

    @app.post(
        "/v2/models/{name}/versions/{version}/infer",
        tags=_OIP,
        summary="Infer with a version",
        openapi_extra=openapi.infer_extra(),
    )
    async def infer_version(name: str, version: str) -> Response:
        """The same, with the version pinned by number or alias."""
        raise _not_here()


def _add_models(app: FastAPI, service: PolicyService) -> None:
    """`/v2/models`: what there is to infer with."""

    @app.get("/v2/models/{name}", tags=_OIP, summary="Tensors of a model", responses=_errors())
    async def model_metadata(name: str) -> Response:
        model = service.models.model(name)
        return Json(v2.model_metadata(model, model.version))

    @app.get("/v2/models/{name}/versions", tags=_OIP, summary="Versions of a model", responses=_errors())
    async def model_versions(name: str) -> Response:
        model = service.models.model(name)
        return Json({"name": name, "versions": version_numbers(model), "aliases": dict(model.aliases)})

    @app.get("/v2/models/{name}/ready", tags=_OIP, summary="Is a model ready?", responses=_errors())
    async def model_ready(name: str) -> Response:
        service.models.model(name)
        return Json({"name": name, "ready": True})

    @app.get("/v2/models/{name}/versions/{version}", tags=_OIP, summary="Tensors of a version", responses=_errors())
    async def version_metadata(name: str, version: str) -> Response:
        choice = await service.choose(name, version)
        return Json(v2.model_metadata(service.models.model(name), choice.version))

    @app.get("/v2/models/{name}/versions/{version}/ready", tags=_OIP, summary="Is it ready?", responses=_errors())
    async def version_ready(name: str, version: str) -> Response:
        choice = await service.choose(name, version)
        return Json({"name": name, "version": choice.version.version, "ready": True})

    @app.post(
        "/v2/repository/index",
        tags=_OIP,
        summary="List all models and versions",
        responses=_errors("400", "401", "403", "413", "429"),
        openapi_extra={"requestBody": {"content": {openapi.JSON: {"schema": openapi.INDEX_BODY}}}},
    )
    async def repository_index(request: Request) -> Response:
        """As Triton's model repository extension has it; all that are listed are ready."""
        body = await _body(request, _SMALL)
        plain = json_object(body, "body", _SMALL) if body else {}
        known(plain, ("ready", "repository_name"), "")
        if plain.get("ready") is not None:
            flag(plain["ready"], "ready")
        if not isinstance(plain.get("repository_name", ""), str | None):
            raise BadRequest("repository_name: got something else, allowed is a string")
        caller = _caller(request)
        return Json([entry for model in service.models if caller.may_ask(model.name) for entry in _entries(model)])


def _add_service(app: FastAPI, service: PolicyService) -> None:
    """Health, and figures."""

    @app.get("/v2/health/live", tags=_SERVICE, summary="Is the service alive?")
    async def live() -> Response:
        return Json({"live": True})

    @app.get("/v2/health/ready", tags=_SERVICE, summary="Can it answer?", responses=_errors("503"))
    async def ready() -> Response:
        if not service.ready:
            return Json({"ready": False, "error": "models: none is loaded yet"}, 503)
        return Json({"ready": True})

    @app.get("/v2", tags=_SERVICE, summary="Name, release and extensions", responses=_errors("401", "403", "429"))
    async def server_metadata() -> Response:
        return Json(v2.server_metadata(NAME, app.version))

    @app.get(
        "/metrics",
        tags=_SERVICE,
        summary="Figures for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {CONTENT_TYPE: {}}, "description": "Of all replicas."},
            **_errors("401", "403", "503", "504"),
        },
    )
    async def metrics() -> Response:
        return Response(render([await service.snapshot()]), headers={"content-type": CONTENT_TYPE})


def _add_pages(app: FastAPI) -> None:
    """Pages for people; nothing in them comes from elsewhere."""
    swagger = Path(fastapi_offline.__file__).parent / "static"
    app.mount("/docs/static", StaticFiles(directory=swagger), name="swagger")
    app.mount("/page", StaticFiles(directory=PAGE, check_dir=False), name="page")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Entrepot: API",
            swagger_js_url="/docs/static/swagger-ui-bundle.js",
            swagger_css_url="/docs/static/swagger-ui.css",
            swagger_favicon_url="/docs/static/favicon.png",
        )

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(PAGE / "index.html", media_type="text/html; charset=utf-8")


def _errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    return {int(code): entry for code, entry in (openapi.errors(codes) if codes else openapi.errors()).items()}


def _entries(model: ServedModel) -> list[dict[str, str]]:
    return [{"name": model.name, "version": n, "state": "READY", "reason": ""} for n in version_numbers(model)]


def _caller(request: Request) -> Caller:
    """Who asks, as the front has found out."""
    caller: Caller = getattr(request.state, "caller", ANYONE)
    return caller


def _not_here() -> NotFound:
    """Why `infer` and `act` are not answered here: nothing gets past the front's line and its look at the key."""
    return NotFound("path: infer and act are answered by the front alone, which this request has not come through")


async def _body(request: Request, most: int) -> bytes:
    """The body, if it is not too large."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLarge(f"body: got more than {most} bytes, which is the most allowed")
        parts.append(part)
    return b"".join(parts)


def _release() -> str:
    try:
        return installed_version(NAME)
    except PackageNotFoundError:  # run from a checkout
        return "0"
