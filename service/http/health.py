"""Is the process alive, and may it be given work."""

from typing import Any

from litestar import Response, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec

from service.world import World, readiness


@get("/livez", operation_id="livez", summary="The process answers; nothing else is asked", tags=["health"])
async def livez() -> dict[str, str]:
    return {"status": "alive"}


@get(
    "/readyz",
    operation_id="readyz",
    summary="Whether this node may be given work",
    responses={
        503: ResponseSpec(dict[str, Any], generate_examples=False, description="`checks` says why not")
    },
    tags=["health"],
)
async def readyz(state: State) -> Response[dict[str, Any]]:
    """503 without Postgres; without Redis 200 with `degraded`."""
    world: World = state.world
    checks = await readiness(world)
    ready = checks["postgres"] and checks["clock"] and checks["keys"]
    body = {
        "status": "ready" if ready else "not_ready",
        "checks": checks,
        "degraded": [] if checks["redis"] else ["redis"],
    }
    return Response(body, status_code=200 if ready else 503, headers={} if ready else {"Retry-After": "2"})
