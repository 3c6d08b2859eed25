"""`configs.token_counts`: numbers of tokens, as people write them."""

import pytest

from configs.token_counts import token_count, token_text


@pytest.mark.parametrize(
    ("count", "text"), [(131_072, "128K"), (1_048_576, "1M"), (10_485_760, "10M"), (1_572_864, "1536K"), (4096, "4K"), (100_000, "100000")]
)
def test_number_of_tokens_is_written_as_people_write_it(count: int, text: str) -> None:
    assert token_text(count) == text
    assert token_count(text) == count


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5.2M", "0", "1G"])
def test_text_that_is_no_number_of_tokens_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of tokens; write 131072, 128K or 1M"):
        token_count(text)
