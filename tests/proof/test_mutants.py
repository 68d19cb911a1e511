"""The mutants are still plantable; that each is caught is shown by `make mutants`, which takes minutes."""

import pytest

from tests.proof.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_code_that_a_mutant_changes_is_still_there_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_that_catch_a_mutant_exist(mutant: Mutant) -> None:
    assert all((ROOT / path).exists() for path in mutant.tests.split())
