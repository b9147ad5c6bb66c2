"""Made-up listeners who use a service over HTTP, so that its pages have something to show."""

from uuid import uuid4

from tests.service.processes import client_of

_ENDS = ("complete", "complete", "skip", "complete", "skip")


def listen(url: str, *, listeners: int, tracks: int, key: str | None = None) -> None:
    """Let listeners play so many of the first proposals each, and skip two of five."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with client_of(url) as client:
        client.headers.update(headers)
        for listener in range(listeners):
            name = f"made-up-{uuid4().hex[:8]}"
            for place in range(tracks):
                reply = client.get(f"/v1/users/{name}/next").json()
                track = reply["tracks"][place % min(3, len(reply["tracks"]))]
                told = [("play", {}), (_ENDS[(listener + place) % len(_ENDS)], {"track_ms": 200_000})]
                events = [
                    {
                        "event_id": f"{reply['request_id']}-{type}",
                        "user_id": name,
                        "track_id": track["track_id"],
                        "type": type,
                        "request_id": reply["request_id"],
                        "played_ms": 5_000 if type == "skip" else 200_000,
                        **more,
                    }
                    for type, more in told
                ]
                client.post("/v1/events", json={"events": events}).raise_for_status()
