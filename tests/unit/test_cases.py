"""The loop that collects offenders: it must not swallow what it collects."""

from __future__ import annotations

import pytest

from tests.support.cases import collected


def test_every_case_that_fails_is_named_and_the_others_run() -> None:
    seen = []
    with pytest.raises(ExceptionGroup, match=r"3 of 4 cases: 1; 2 two; 3") as failed, collected() as case:
        with case(0):
            seen.append(0)
        with case(1):
            assert seen == []
        with case(2, "two"), pytest.raises(ValueError):
            seen.append(2)
        with case(3):
            raise KeyError(3)
    assert seen == [0, 2]
    assert [type(error) for error in failed.value.exceptions] == [AssertionError, AssertionError, KeyError]


def test_a_loop_without_a_case_fails() -> None:
    with pytest.raises(AssertionError, match="no case ran"), collected():
        pass


def test_what_fails_outside_of_a_case_ends_the_test() -> None:
    with pytest.raises(KeyError), collected():
        raise KeyError
