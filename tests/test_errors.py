import dataclasses
import pickle
import typing
from pathlib import Path

import pytest

from bullpen import errors
from bullpen.errors import BullpenError


def all_kinds(base: type[BullpenError] = BullpenError) -> list[type[BullpenError]]:
    found: list[type[BullpenError]] = []
    for kind in base.__subclasses__():
        if kind.__module__.startswith("bullpen.errors."):
            found += [kind, *all_kinds(kind)]
    return found


KINDS = sorted(set(all_kinds()), key=lambda kind: kind.__name__)
SAMPLES: dict[object, object] = {
    str: "calm-otter",
    int: 3,
    float: 2.5,
    bool: False,
    Path: Path("/work"),
    int | None: 3,
    str | None: "x",
    tuple[str, ...]: ("a.txt", "b.txt"),
}


def example(kind: type[BullpenError]) -> BullpenError:
    if not dataclasses.is_dataclass(kind):
        return kind()
    types = typing.get_type_hints(kind)
    given = {field.name: SAMPLES[types[field.name]] for field in dataclasses.fields(kind)}
    return kind(**given)


def test_every_error_is_public_and_stands_in_the_tree():
    names = {kind.__name__ for kind in KINDS}
    assert names | {"BullpenError"} == set(errors.__all__)
    tree = errors.__doc__ or ""
    assert [name for name in sorted(names) if f"  {name} " not in tree] == []


def test_no_two_errors_share_a_code():
    codes = [example(kind).code for kind in KINDS]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_fields_and_its_words_through_a_crash(kind: type[BullpenError]):
    error = example(kind)
    revived = pickle.loads(pickle.dumps(error))
    assert type(revived) is type(error)
    assert (str(revived), revived.hint, vars(revived)) == (str(error), error.hint, vars(error))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_message_is_one_sentence_without_a_full_stop(kind: type[BullpenError]):
    error = example(kind)
    if kind is errors.RemoteError:
        return  # its words are another process's
    assert "\n" not in str(error)
    assert not str(error).endswith(".")
    assert str(error)[0].islower()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_not_frozen_so_that_a_traceback_can_be_set(kind: type[BullpenError]):
    with pytest.raises(kind) as caught:
        raise example(kind)
    assert caught.value.__traceback__ is not None
