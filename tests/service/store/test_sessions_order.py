"""The property on which the session store relies: neither the order nor the repetition of events changes the stored state."""

from collections.abc import Sequence

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.events import Event, EventType
from service.store.sessions import Remembered
from tests.service.applications import NOW_MS
from tests.service.store.test_sessions import Where, opened, user

EVENTS = st.builds(
    Event,
    at_ms=st.integers(0, 9),  # few values, so that many events share a millisecond
    type=st.sampled_from(EventType),
    event_id=st.text("abé{", min_size=1, max_size=2),
    track_id=st.sampled_from(["t1", "t2", "t3", "t4"]),
    delay_ms=st.sampled_from([0, 3, 10**10]),
    played_ms=st.sampled_from([None, 1_000, 60_000]),
    track_ms=st.none(),
    session_id=st.sampled_from([None, "s1"]),
    request_id=st.none(),
    private=st.sampled_from([False, False, True]),
)


@given(events=st.lists(EVENTS, min_size=1, max_size=40, unique_by=lambda event: event.event_id), data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_and_repetition_change_nothing(valkey: str, events: Sequence[Event], data: st.DataObject) -> None:
    """Any order, repetition and division into batches gives the same state as one batch of all events, trimming included.

    It is no luck: with 40 events at 10 times and room for 6, each example trims, and many events tie at the limit.
    """
    orders = [data.draw(st.permutations([*events, *data.draw(st.lists(st.sampled_from(events)))])) for _ in range(2)]

    async def states() -> list[Remembered]:
        async with opened(Where(None)) as memory, opened(Where(valkey)) as store:
            await memory.record({"all at once": events})
            found = [await memory.read("all at once", NOW_MS)]
            for order in orders:
                listener, left = user(), list(order)
                while left:
                    size = data.draw(st.integers(1, len(left)))
                    await store.record({listener: left[:size]})
                    left = left[size:]
                found.append(await store.read(listener, NOW_MS))
            return found

    expected, *found = anyio.run(states)

    assert [one.history for one in found] == [expected.history] * 2
    assert [one.disliked for one in found] == [expected.disliked] * 2
