from typing import Any, get_args

import msgspec
import pytest

from bullpen.model.fact import AgentFact, AnyFact, Fact, decode_fact, encode_fact, kebab

KINDS: list[Any] = list(get_args(AnyFact))


def test_every_fact_is_part_of_the_union_and_has_a_kind_of_its_own():
    assert set(KINDS) == set(Fact.__subclasses__())
    assert len({kind.__struct_config__.tag for kind in KINDS}) == len(KINDS)
    assert set(get_args(AgentFact)) < set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kebab(kind.__name__))
def test_a_fact_survives_the_store(kind: Any):
    samples: dict[Any, Any] = {str: "ä\u0000\n", int: 3, float: 1.5, bool: True}
    samples |= {str | None: None, int | None: 7}
    fields = {
        field.name: samples.get(field.type, [] if "list" in str(field.type) else {})
        for field in msgspec.structs.fields(kind)
        if field.required
    }
    fact = kind(**fields)
    assert decode_fact(encode_fact(fact)) == fact
    assert f'"kind":"{kebab(kind.__name__)}"' in encode_fact(fact).decode()
