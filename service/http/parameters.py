"""Refuses query parameters that a route does not have: FastAPI would silently ignore a mistyped one."""

from typing import cast

from fastapi import Request
from fastapi.routing import APIRoute

from service.errors import Fault, InvalidRequestError


async def refuse_unknown_parameters(request: Request) -> None:
    """Raise InvalidRequestError that names each query parameter which the route does not have."""
    if not request.query_params:
        return
    known = [field.alias for field in cast("APIRoute", request.scope["route"]).dependant.query_params]
    expected = f"expected one of {', '.join(known)}" if known else "expected none"
    faults = [
        Fault(loc=["query", name], msg=f"unknown parameter; {expected}") for name in request.query_params if name not in known
    ]
    if faults:
        raise InvalidRequestError(faults)
