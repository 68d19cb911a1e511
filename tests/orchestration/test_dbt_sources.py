from orchestration.dbt_sources import generated_files


def test_what_is_committed_is_what_the_contract_generates() -> None:
    for path, text in generated_files().items():
        assert path.read_text() == text, f"{path.name}: run python -m orchestration.dbt_sources"
