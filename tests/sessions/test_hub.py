import anyio
import pytest

from bullpen.model.fact import MessageStreamed
from bullpen.sessions.hub import Hub


async def test_a_listener_is_woken_by_its_own_sessions_alone():
    hub = Hub()
    with hub.listening(["a"]) as mine, hub.listening(None) as any_of_them:
        hub.publish("b")
        with anyio.fail_after(5):
            await any_of_them.wait()
        with pytest.raises(TimeoutError), anyio.fail_after(0):
            await mine.wait()
        hub.publish("a")
        with anyio.fail_after(5):
            await mine.wait()


async def test_news_that_come_before_the_wait_are_not_lost():
    hub = Hub()
    with hub.listening(["a"]) as listener:
        hub.publish("a")
        with anyio.fail_after(5):
            await listener.wait()


async def test_a_listener_that_left_holds_nothing_back():
    hub = Hub()
    with hub.listening(["a", "b"], deltas=True):
        assert hub.wants_deltas("a")
    assert not hub.wants_deltas("a")
    assert hub._listeners == {}


async def test_a_slow_listener_loses_deltas_and_is_told_and_never_grows():
    hub = Hub()
    with hub.listening(["a"], deltas=True) as slow, hub.listening(["a"]) as plain:
        for number in range(5000):
            hub.stream("a", MessageStreamed(text=str(number)), number=number)
        assert slow.deltas is not None
        assert len(slow.deltas) <= 1000
        assert slow.gap
        assert plain.deltas is None


async def test_streamed_text_that_was_stored_before_anybody_took_it_is_not_told_twice():
    hub = Hub()
    with hub.listening(["a"], deltas=True) as late:
        for number in range(1, 6):
            hub.stream("a", MessageStreamed(text=str(number)), number=number)
        hub.stored("b", covered=5)
        hub.stored("a", covered=3)
        assert late.deltas is not None
        assert [delta.text for _, delta in late.deltas] == ["4", "5"]


async def test_everybody_can_be_woken():
    hub = Hub()
    with hub.listening(["a"]) as one, hub.listening(None) as other:
        hub.wake_all()
        with anyio.fail_after(5):
            await one.wait()
            await other.wait()
