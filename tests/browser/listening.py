"""Made-up listeners who use a service over HTTP, so that its pages have something to show."""

import httpx

_ENDS = ("complete", "complete", "skip", "complete", "skip")


def listen(url: str, *, listeners: int, tracks: int, key: str | None = None) -> None:
    """Let listeners play so many of the first proposals each, and skip two of five."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        for listener in range(listeners):
            for place in range(tracks):
                reply = client.get(f"/v1/users/made-up-{listener}/next").json()
                track = reply["tracks"][place % 3]
                told = [("play", {}), (_ENDS[(listener + place) % len(_ENDS)], {"track_ms": 200_000})]
                events = [
                    {
                        "event_id": f"{reply['request_id']}-{type}",
                        "user_id": f"made-up-{listener}",
                        "track_id": track["track_id"],
                        "type": type,
                        "request_id": reply["request_id"],
                        "played_ms": 5_000 if type == "skip" else 200_000,
                        **more,
                    }
                    for type, more in told
                ]
                client.post("/v1/events", json={"events": events}).raise_for_status()
