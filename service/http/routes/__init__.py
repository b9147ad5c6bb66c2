"""Routes translate between HTTP and the parts of the service. They contain no decisions of their own."""

from service.http.routes import batches, blocks, events, operations, proposals, status, users

ROUTERS = (events.router, proposals.router, batches.router, users.router, blocks.router, operations.router, status.router)
