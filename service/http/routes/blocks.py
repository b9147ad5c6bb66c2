"""Routes for blocks of one listener, and for take-downs, which apply to everybody."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from service.blocks import Block, Blocks, Kind, tracks_of, without_effect
from service.errors import BlockRefusedError
from service.http.replies import block_list, reply
from service.http.routes.refusals import Refusals, unavailable
from service.http.schemas import BlockList, ListenerBlocks, NewBlock, PathId, Problem, Text
from service.observing.audit import audit
from service.scoring.registry import ServedModel
from service.state import Service
from service.store.take_downs import MOST

router = APIRouter(responses=unavailable())
REFUSED: Refusals = {HTTPStatus.CONFLICT: {"model": Problem, "description": "it would have no effect, or there are too many"}}


@router.get("/v1/users/{user_id}/blocks", tags=["listeners"], response_model=ListenerBlocks)
async def get_listener_blocks(service: Service, user_id: PathId) -> Response:
    """List what a listener has blocked. An unknown listener has blocked nothing."""
    remembered = await service.store.read(user_id, service.clock())
    return reply({"user_id": user_id, **block_list(remembered.blocks)})


@router.put("/v1/users/{user_id}/blocks/{kind}/{value}", tags=["listeners"], response_model=NewBlock, responses=REFUSED)
async def put_listener_block(service: Service, user_id: PathId, kind: Kind, value: PathId) -> Response:
    """Block a track, an artist or an album for a listener.

    No reply proposes it to this listener until the block is deleted. An artist or an album stands for its tracks in the
    catalogue of the model, and the name must be the catalogue's. `tracks` in the reply is the number of the model's tracks that
    are blocked.
    """
    block = Block(kind, value)
    with service.models.of(user_id) as model:
        _check_effect(model, block)
        service.masks.block(user_id, block)  # before the write: it stays out of a reply without Redis even if the write fails
        if not await service.store.block(user_id, block, service.clock()):
            service.masks.unblock(user_id, block)
            raise BlockRefusedError("this listener has as many blocks as NEXTTRACK_BLOCKS allows; delete one first")
        return _blocked(model, block)


@router.delete("/v1/users/{user_id}/blocks/{kind}/{value}", tags=["listeners"], status_code=HTTPStatus.NO_CONTENT)
async def delete_listener_block(service: Service, user_id: PathId, kind: Kind, value: PathId) -> None:
    """Delete a block of a listener. It is no error if the block does not exist."""
    block = Block(kind, value)
    await service.store.unblock(user_id, block)
    service.masks.unblock(user_id, block)


@router.get("/v1/blocks", tags=["operations"], response_model=BlockList)
async def get_take_downs(service: Service) -> Response:
    """List the tracks, artists and albums that are taken down for everybody."""
    await service.take_downs.refresh()
    return reply(block_list(service.take_downs.blocks))


@router.put("/v1/blocks/{kind}/{value:path}", tags=["operations"], response_model=NewBlock, responses=REFUSED)
async def put_take_down(service: Service, kind: Kind, value: Text) -> Response:
    """Take a track, an artist or an album down for everybody.

    The take-down is in force in this process when the reply arrives, and in all others within a second. It stays in force
    without Redis, with another model and after a restart.
    """
    block = Block(kind, value)
    for model in service.models.in_use:
        _check_effect(model, block)
    if not await service.take_downs.add(block):
        raise BlockRefusedError(f"{MOST} blocks are taken down, and no more can be; export the model without them")
    audit.info("audit: taken down", kind=kind, value=value)
    return _blocked(service.models.current, block)


@router.delete("/v1/blocks/{kind}/{value:path}", tags=["operations"], status_code=HTTPStatus.NO_CONTENT)
async def delete_take_down(service: Service, kind: Kind, value: Text) -> None:
    """End a take-down, so that the track, artist or album may be proposed again. It is no error if the take-down does not
    exist.
    """
    await service.take_downs.remove(Block(kind, value))
    audit.info("audit: take-down ended", kind=kind, value=value)


def _check_effect(model: ServedModel, block: Block) -> None:
    """Raise BlockRefusedError for an artist or album if the model's catalogue names none."""
    if fault := without_effect(model.artifact, Blocks.of([block])):
        raise BlockRefusedError(f"{model.version}: {fault}")


def _blocked(model: ServedModel, block: Block) -> Response:
    return reply({"kind": block.kind, "value": block.value, "tracks": tracks_of(model.artifact, block)})
