"""Refuses query parameters that FastAPI would silently ignore: mistyped ones, and all but the last of a repeated one."""

from collections import Counter
from typing import cast, get_origin

from fastapi import Request
from fastapi.routing import APIRoute

from service.errors import Fault, InvalidRequestError

PROBES = frozenset({"/healthz", "/readyz"})
"""Load balancers add parameters of their own to these."""


async def refuse_unknown_parameters(request: Request) -> None:
    """Raise InvalidRequestError that names each query parameter which the route does not have, or takes once and got again."""
    route = cast("APIRoute", request.scope["route"])
    if not request.query_params or route.path in PROBES:
        return
    known = {field.alias: get_origin(field.field_info.annotation) is list for field in route.dependant.query_params}
    expected = f"expected one of {', '.join(known)}" if known else "expected none"
    faults = []
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            faults.append(Fault(loc=["query", name], msg=f"unknown parameter; {expected}"))
        elif times > 1 and not known[name]:
            faults.append(Fault(loc=["query", name], msg=f"found {times} times; expected once"))
    if faults:
        raise InvalidRequestError(faults)
