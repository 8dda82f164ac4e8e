from __future__ import annotations

import base64
import json

import pytest

from service.api.paging import MAX_PAGE, decode, encode, page_limit
from service.errors import BadRequest

ARGUMENTS = {"list": "samples", "order": "score"}


def test_a_token_gives_its_position_back() -> None:
    token = encode([0.1 + 0.2, 7], ARGUMENTS)
    assert decode(token, ARGUMENTS, float, int) == [0.1 + 0.2, 7]
    assert decode(encode(["naïve/ß", 1], ARGUMENTS), ARGUMENTS, str, int) == ["naïve/ß", 1]
    assert decode(None, ARGUMENTS, float, int) is None


def test_a_token_is_good_for_one_question_only() -> None:
    token = encode([0.5, 7], ARGUMENTS)
    with pytest.raises(BadRequest, match="changed"):
        decode(token, {**ARGUMENTS, "order": "name"}, float, int)


def forged(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize(
    "token", ["x", "!!!", "bnVsbA", forged(), forged(1), "0" * 1999, base64.urlsafe_b64encode(b"{}").decode(), "ÿ"]
)
def test_nonsense_is_refused(token: str) -> None:
    with pytest.raises(BadRequest, match="page_token"):
        decode(token, ARGUMENTS, float, int)


def test_a_position_of_other_types_is_refused() -> None:
    with pytest.raises(BadRequest):
        decode(encode(["a", 7], ARGUMENTS), ARGUMENTS, float, int)
    with pytest.raises(BadRequest):
        decode(encode([0.5], ARGUMENTS), ARGUMENTS, float, int)


def test_the_page_size_is_coerced_to_the_maximum() -> None:
    assert (page_limit(7), page_limit(10**9)) == (7, MAX_PAGE)
